-- Context items of a query, one row per query, context and item: the cart, and the shopper's twenty strongest habits.
with
    habits as (
        select
            queries.query_id,
            queries.month,
            habits.item_no,
            habits.score,
            row_number() over (partition by queries.query_id order by habits.score desc, habits.item_no) as habit_no
        from {{ ref("checkout_queries") }} as queries
        inner join {{ ref("checkout_query_habits") }} as habits on queries.query_id = habits.query_id
    )
select queries.query_id, queries.month, lines.item_no, 'cart' as context, cast(1 as double) as weight
from {{ ref("checkout_queries") }} as queries
inner join
    {{ ref("checkout_lines") }} as lines
    on queries.month = lines.month
    and queries.query_key = lines.basket_id
    and lines.is_context_item
where queries.kind = 'cart'
union all
select query_id, month, item_no, 'history' as context, score as weight
from habits
where habit_no <= 20
