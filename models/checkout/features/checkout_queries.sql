-- Evaluation queries, one row per query: a partial cart, or a user with an empty cart.
with
    carts as (
        select
            lines.month,
            'cart' as kind,
            lines.basket_id as query_key,
            lines.user_id,
            min(lines.acted_on) as queried_on,
            count(case when lines.is_context_item then 1 end) as n_context_items,
            count(case when not lines.is_context_item then 1 end) as n_relevant
        from {{ ref("checkout_lines") }} as lines
        inner join {{ ref("checkout_months") }} as months on lines.month = months.month
        group by lines.month, lines.basket_id, lines.user_id
        having count(case when lines.is_context_item then 1 end) > 0
    ),
    shoppers as (
        select
            users.month,
            'user' as kind,
            users.user_id as query_key,
            users.user_id,
            users.month as queried_on,
            0 as n_context_items,
            count(labels.item_no) as n_relevant
        from {{ ref("checkout_users") }} as users
        left join
            {{ ref("checkout_labels") }} as labels on users.month = labels.month and users.user_id = labels.user_id
        group by users.month, users.user_id
    ),
    query_pool as (
        select *
        from carts
        union all
        select *
        from shoppers
    ),
    sampled as (
        select
            query_pool.*,
            months.is_evaluated,
            row_number() over (
                partition by query_pool.month, query_pool.kind
                order by {{ sample_uniform("query_pool.query_key") }}, query_pool.query_key
            ) as sample_rank
        from query_pool
        inner join {{ ref("checkout_months") }} as months on query_pool.month = months.month and months.is_closed
    )
select
    cast(row_number() over (order by sampled.month, sampled.kind, sampled.query_key) as bigint) as query_id,
    sampled.month,
    sampled.kind,
    sampled.query_key,
    sampled.user_id,
    sampled.queried_on,
    sampled.is_evaluated,
    sampled.n_context_items,
    sampled.n_relevant,
    coalesce(users.stage, 'unknown') as stage,
    coalesce(users.n_baskets, 0) as n_baskets
from sampled
left join {{ ref("checkout_users") }} as users on sampled.month = users.month and sampled.user_id = users.user_id
where sampled.sample_rank <= {{ value_of("checkout_queries") }}
