-- Activity counts, one row per user and month with actions.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "closed_months"}) }}
-- depends_on: {{ ref("month_calendar") }}
select user_id, month, count(*) as n_actions, count(distinct acted_on) as n_days
from {{ ref("stg_actions") }}
where month = {{ this_month() }}
group by user_id, month
