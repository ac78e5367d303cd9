-- Product types a shopper has looked at, one row per month, user and type: items seen before the month, decayed. The
-- target month covers all users, past months only users with a query.
{{ config(materialized="monthly", meta={"months": "checkout_months_all", "reads": {"checkout_visits": "before"}}) }}
-- depends on: {{ ref("checkout_months") }}
with queried as (select distinct user_id from {{ ref("checkout_queries") }} where month = {{ this_month() }})
select
    {{ this_month() }} as month,
    user_id,
    type_no,
    round(sum({{ exact("power(0.5, " ~ months_between(this_month(), "month") ~ " / 2.0)") }}), 6) as score
from {{ ref("checkout_visits") }}
where month < {{ this_month() }} and (user_id in (select user_id from queried) or not exists (select 1 from queried))
group by user_id, type_no
