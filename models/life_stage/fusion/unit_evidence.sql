-- What each part of a month says about the age of the child it was for: a user's actions in one leaf category, or the
-- searches. Where several children are possible, parts must not be summed up before they are compared.
{{ config(materialized="view") }}
with
    actions as (
        select
            actions.user_id,
            actions.month,
            actions.action,
            actions.item_id,
            actions.search_term,
            case
                when actions.item_id is null then 'search' else concat('leaf=', coalesce(items.leaf_category, ''))
            end as unit,
            cast(power(2, day(actions.acted_on) - 1) as integer) as day_bit
        from {{ ref("stg_actions") }} as actions
        left join {{ ref("stg_items") }} as items on actions.item_id = items.item_id
    ),
    met as ({{ features_met(["user_id", "month", "unit", "day_bit"]) }}),
    days_met as (
        select user_id, month, unit, feature_no, ln(1 + bit_count(bit_or(day_bit))) as value
        from met
        group by user_id, month, unit, feature_no
    )
select
    days_met.user_id,
    days_met.month,
    days_met.unit,
    models.model_version,
    {% for bin in age_bins() %}
        sum({{ exact("days_met.value * weights.w_" ~ bin.name) }}) as e_{{ bin.name }}
        {%- if not loop.last %},{% endif %}
    {% endfor %}
from days_met
inner join {{ ref("month_models") }} as models on days_met.month = models.month
inner join {{ feature_names() }} as names on days_met.feature_no = names.feature_no
inner join
    {{ ref("evidence_weights") }} as weights
    on models.model_version = weights.model_version
    and names.full_name = weights.feature
group by days_met.user_id, days_met.month, days_met.unit, models.model_version
