-- Who was active in which month, and how much.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "closed_months"}) }}
-- depends_on: {{ ref("month_ledger") }}
select
    user_id,
    month,
    count(*) as n_actions,
    count(distinct acted_on) as n_days,
    count(case when action = 'purchase' then 1 end) as n_purchases
from {{ ref("stg_actions") }}
where month = {{ this_month() }}
group by user_id, month
