-- Shopper features before each month, one row per month and user: recency, frequency, units and children's stages.
{{
    config(
        materialized="monthly",
        meta={"months": "checkout_months_all", "reads": {"checkout_lines": "before", "checkout_stages": 1}},
    )
}}
-- depends on: {{ ref("checkout_months") }}
{% set names = stage_names() %}
with
    bought as (
        select
            user_id,
            {{ days_between(this_month(), "max(acted_on)") }} as recency_days,
            {{ days_between(this_month(), "min(acted_on)") }} as tenure_days,
            count(distinct concat(cast(month as string), basket_id)) as n_baskets,
            cast(sum(n_units) as bigint) as n_units
        from {{ ref("checkout_lines") }}
        where month < {{ this_month() }}
        group by user_id
    ),
    stages_before as (select * from {{ ref("checkout_stages") }} where month = {{ months_after(this_month(), -1) }})
select
    {{ this_month() }} as month,
    coalesce(bought.user_id, stages_before.user_id) as user_id,
    bought.recency_days,
    bought.tenure_days,
    coalesce(bought.n_baskets, 0) as n_baskets,
    coalesce(bought.n_units, 0) as n_units,
    coalesce(stages_before.stage, 'unknown') as stage
    {% for name in names %}, coalesce(stages_before.p_{{ name }}, 0.0) as p_{{ name }} {% endfor %}
from bought
full outer join stages_before on bought.user_id = stages_before.user_id
