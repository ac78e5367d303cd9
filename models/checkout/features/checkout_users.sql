-- Whom the checkout knows before each month: how recently, how often and how much they bought, and their children's
-- stages.
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
    stages_told as (
        select months.month as told_for, told.*
        from {{ ref("checkout_months") }} as months
        inner join {{ ref("checkout_stages") }} as told on told.month = {{ months_after("months.month", -1) }}
    )
select
    coalesce(bought.month, stages_told.told_for) as month,
    coalesce(bought.user_id, stages_told.user_id) as user_id,
    bought.recency_days,
    bought.tenure_days,
    coalesce(bought.n_baskets, 0) as n_baskets,
    coalesce(bought.n_units, 0) as n_units,
    coalesce(stages_told.stage, 'unknown') as stage
    {% for name in names %}, coalesce(stages_told.p_{{ name }}, 0.0) as p_{{ name }} {% endfor %}
from bought
full outer join stages_told on bought.month = stages_told.told_for and bought.user_id = stages_told.user_id
