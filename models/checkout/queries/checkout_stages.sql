-- Stage shares of a shopper's children at the month's end, one row per user and month.
{{ config(materialized="monthly", meta={"months": "checkout_history", "reads": {}}) }}
-- depends on: {{ ref("month_calendar") }} {{ ref("checkout_months") }}
{% set names = stage_names() %}
with
    -- Shares have six decimals. At eight, the mean of two is exact.
    shares as (
        select
            stages_of_month.user_id,
            stages_of_month.month,
            max(case when stages_of_month.is_in_stage then 1 else 0 end) = 1 as is_in_stage
            {% for name in names %}
                , round(sum({{ exact("stages_of_month.p_" ~ name) }}) / count(*), 8) as p_{{ name }}
            {% endfor %}
        from {{ ref("user_stage_months") }} as stages_of_month
        where stages_of_month.month in {{ pending_months() }}
        group by stages_of_month.user_id, stages_of_month.month
    )
select *, case when is_in_stage then {{ first_greatest("p_", names) }} else 'none' end as stage
from shares
