-- Users with more actions than a person has, one row per user and month: programs, and ids that many share. They
-- neither train a model nor are published.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "closed_months"}) }}
-- depends_on: {{ ref("month_calendar") }}
with
    counted as (
        select *, sum(n_actions) over () as n_all, count(*) over () as n_users
        from {{ ref("user_months") }}
        where month = {{ this_month() }}
    )
select user_id, month, n_actions
from counted
-- Beyond 1 % of the month, and 20 users of average activity.
where n_users >= 100 and n_actions > 0.01 * n_all and n_actions * n_users > 20 * n_all
