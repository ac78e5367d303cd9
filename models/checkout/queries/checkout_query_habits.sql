-- Repeat-purchase scores at query time, one row per query and item: the month's scores decayed to the day of the query,
-- plus purchases since.
{{ config(materialized="monthly", meta={"months": "checkout_months_closed", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
{% set day = "queries.queried_on" %}
with
    queries as (select * from {{ ref("checkout_queries") }} where month = {{ this_month() }}),
    purchases as (
        select
            queries.query_id,
            queries.queried_on,
            habits.item_no,
            habits.n_baskets,
            habits.score * {{ decayed(days_between(day, "queries.month")) }} as score,
            habits.recent_score * {{ decayed(days_between(day, "queries.month"), 4) }} as recent_score,
            habits.first_on,
            habits.last_on
        from queries
        inner join
            {{ ref("checkout_habits") }} as habits
            on habits.month = {{ this_month() }}
            and queries.user_id = habits.user_id
        union all
        select
            queries.query_id,
            queries.queried_on,
            lines.item_no,
            1 as n_baskets,
            {{ decayed(days_between(day, "lines.acted_on")) }} as score,
            {{ decayed(days_between(day, "lines.acted_on"), 4) }} as recent_score,
            lines.acted_on as first_on,
            lines.acted_on as last_on
        from queries
        inner join
            {{ ref("checkout_lines") }} as lines
            on lines.month = {{ this_month() }}
            and queries.user_id = lines.user_id
            and lines.acted_on < queries.queried_on
    )
select
    query_id,
    {{ this_month() }} as month,
    item_no,
    cast(sum(n_baskets) as bigint) as n_baskets,
    sum({{ exact("score") }}) as score,
    sum({{ exact("recent_score") }}) as recent_score,
    {{ days_between("queried_on", "max(last_on)") }} as since_days,
    {{ days_between("max(last_on)", "min(first_on)") }} / nullif(sum(n_baskets) - 1, 0) as interval_days
from purchases
group by query_id, queried_on, item_no
