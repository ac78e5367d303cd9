-- Repeat-purchase scores, one row per month, user and item: purchases decayed by half-life. The target month covers all
-- users, past months only users with a query.
{{ config(materialized="monthly", meta={"months": "checkout_months_all", "reads": {"checkout_lines": "before"}}) }}
-- depends on: {{ ref("checkout_months") }}
with queried as (select distinct user_id from {{ ref("checkout_queries") }} where month = {{ this_month() }})
select
    {{ this_month() }} as month,
    user_id,
    item_no,
    count(*) as n_baskets,
    round(sum({{ exact(decayed(days_between(this_month(), "acted_on"))) }}), 6) as score,
    round(sum({{ exact(decayed(days_between(this_month(), "acted_on"), 4)) }}), 6) as recent_score,
    min(acted_on) as first_on,
    max(acted_on) as last_on
from {{ ref("checkout_lines") }}
where month < {{ this_month() }} and (user_id in (select user_id from queried) or not exists (select 1 from queried))
group by user_id, item_no
