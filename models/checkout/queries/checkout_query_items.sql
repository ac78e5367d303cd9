-- Context items of a query, one row per query, context and item: the cart, and the shopper's twenty strongest habits.
{{ config(materialized="monthly", meta={"months": "checkout_months_closed", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
with
    habits as (
        select
            query_id, item_no, score, row_number() over (partition by query_id order by score desc, item_no) as habit_no
        from {{ ref("checkout_query_habits") }}
        where month = {{ this_month() }}
    )
select queries.query_id, {{ this_month() }} as month, lines.item_no, 'cart' as context, cast(1 as double) as weight
from {{ ref("checkout_queries") }} as queries
inner join
    {{ ref("checkout_lines") }} as lines
    on queries.month = lines.month
    and queries.query_key = lines.basket_id
    and lines.is_context_item
where queries.kind = 'cart' and queries.month = {{ this_month() }}
union all
select query_id, {{ this_month() }} as month, item_no, 'history' as context, score as weight
from habits
where habit_no <= 20
