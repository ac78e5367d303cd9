-- Log-likelihood of each age bin given the month's actions, one row per user and active month: the sum of the weights
-- of the observed features. It excludes the prior, so months add up.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "months_with_model"}) }}
-- depends_on: {{ ref("month_model_assignments") }} {{ ref("month_calendar") }}
with
    weights as (select * from {{ ref("model_weights") }} where model_version = '__model_version__'),
    weighted_features as (
        select
            features.user_id,
            {% for bin in age_bins() %}
                sum({{ exact("features.value * weights.w_" ~ bin.name) }}) as ll_{{ bin.name }},
            {% endfor %}
            {% for days in ["days", "unspecific_days", "purchase_days"] %}
                sum(case when weights.counts_{{ days }} = 1 then {{ exact("features.value") }} else 0 end) as {{ days }}
                {%- if not loop.last %},{% endif %}
            {% endfor %}
        from {{ ref("user_month_features") }} as features
        inner join weights on features.feature = weights.feature
        where features.month = {{ this_month() }}
        group by features.user_id
    ),
    known_items as (
        select distinct item_features.item_id
        from {{ ref("item_features") }} as item_features
        inner join weights on item_features.feature = weights.feature
    ),
    known_terms as (
        select distinct search_term_features.search_term
        from {{ ref("search_term_features") }} as search_term_features
        inner join weights on search_term_features.feature = weights.feature
    ),
    users as (
        select
            actions.user_id,
            count(*) as n_actions,
            count(coalesce(known_items.item_id, known_terms.search_term)) as n_known_actions
        from {{ ref("stg_actions") }} as actions
        left join known_items on actions.item_id = known_items.item_id
        left join known_terms on actions.search_term = known_terms.search_term
        where actions.month = {{ this_month() }}
        group by actions.user_id
    )
select
    users.user_id,
    {{ this_month() }} as month,
    '__model_version__' as model_version,
    round(1 - users.n_known_actions / cast(users.n_actions as double), 6) as out_of_vocabulary_share,
    {% for bin in age_bins() %}
        round(
            coalesce(weighted_features.ll_{{ bin.name }}, 0) + {{ exact("intercept.w_" ~ bin.name) }}, 6
        ) as ll_{{ bin.name }},
    {% endfor %}
    round(coalesce(weighted_features.days, 0), 6) as days,
    round(coalesce(weighted_features.unspecific_days, 0), 6) as unspecific_days,
    round(coalesce(weighted_features.purchase_days, 0), 6) as purchase_days
from users
cross join (select * from weights where feature = '') as intercept
left join weighted_features on users.user_id = weighted_features.user_id
