-- Shopper features before each month, one row per month and user: recency, frequency, units and children's stages.
{% set names = stage_names() %}
with
    bought as (
        select
            months.month,
            lines.user_id,
            {{ days_between("months.month", "max(lines.acted_on)") }} as recency_days,
            {{ days_between("months.month", "min(lines.acted_on)") }} as tenure_days,
            count(distinct concat(cast(lines.month as string), lines.basket_id)) as n_baskets,
            cast(sum(lines.n_units) as bigint) as n_units
        from {{ ref("checkout_months") }} as months
        inner join {{ ref("checkout_lines") }} as lines on lines.month < months.month
        group by months.month, lines.user_id
    ),
    stages_before as (
        select months.month as applies_to_month, stages_of_month.*
        from {{ ref("checkout_months") }} as months
        inner join
            {{ ref("checkout_stages") }} as stages_of_month
            on stages_of_month.month = {{ months_after("months.month", -1) }}
    )
select
    coalesce(bought.month, stages_before.applies_to_month) as month,
    coalesce(bought.user_id, stages_before.user_id) as user_id,
    bought.recency_days,
    bought.tenure_days,
    coalesce(bought.n_baskets, 0) as n_baskets,
    coalesce(bought.n_units, 0) as n_units,
    coalesce(stages_before.stage, 'unknown') as stage
    {% for name in names %}, coalesce(stages_before.p_{{ name }}, 0.0) as p_{{ name }} {% endfor %}
from bought
full outer join
    stages_before on bought.month = stages_before.applies_to_month and bought.user_id = stages_before.user_id
