-- Log-likelihood per session-category group, one row per user, month and group: a leaf category, or all searches.
-- The presence log-likelihood needs the groups separately.
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
            end as category_group,
            cast(power(2, day(actions.acted_on) - 1) as integer) as day_bit
        from {{ ref("stg_actions") }} as actions
        left join {{ ref("stg_items") }} as items on actions.item_id = items.item_id
    ),
    observed as ({{ observed_features(["user_id", "month", "category_group", "day_bit"]) }}),
    observed_days as (
        select user_id, month, category_group, feature_id, ln(1 + bit_count(bit_or(day_bit))) as value
        from observed
        group by user_id, month, category_group, feature_id
    )
select
    observed_days.user_id,
    observed_days.month,
    observed_days.category_group,
    models.model_version,
    {% for bin in age_bins() %}
        sum({{ exact("observed_days.value * weights.w_" ~ bin.name) }}) as ll_{{ bin.name }}
        {%- if not loop.last %},{% endif %}
    {% endfor %}
from observed_days
inner join {{ ref("month_model_assignments") }} as models on observed_days.month = models.month
inner join {{ feature_names() }} as names on observed_days.feature_id = names.feature_id
inner join
    {{ ref("model_weights") }} as weights
    on models.model_version = weights.model_version
    and names.full_name = weights.feature
group by observed_days.user_id, observed_days.month, observed_days.category_group, models.model_version
