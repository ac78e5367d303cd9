-- Evaluation queries, one row per query: a partial cart, or a user with an empty cart.
{{ config(materialized="monthly", meta={"months": "checkout_months_closed", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
with
    carts as (
        select
            'cart' as kind,
            basket_id as query_key,
            user_id,
            min(acted_on) as queried_on,
            count(case when is_context_item then 1 end) as n_context_items,
            count(case when not is_context_item then 1 end) as n_relevant
        from {{ ref("checkout_lines") }}
        where month = {{ this_month() }}
        group by basket_id, user_id
        having count(case when is_context_item then 1 end) > 0
    ),
    users as (select * from {{ ref("checkout_users") }} where month = {{ this_month() }}),
    shoppers as (
        select
            'user' as kind,
            users.user_id as query_key,
            users.user_id,
            {{ this_month() }} as queried_on,
            0 as n_context_items,
            count(labels.item_no) as n_relevant
        from users
        left join
            (select * from {{ ref("checkout_labels") }} where month = {{ this_month() }}) as labels
            on users.user_id = labels.user_id
        group by users.user_id
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
            *,
            row_number() over (partition by kind order by {{ sample_uniform("query_key") }}, query_key) as sample_rank
        from query_pool
    )
select
    {{ first_query_id() }} + row_number() over (order by sampled.kind, sampled.query_key) as query_id,
    {{ this_month() }} as month,
    sampled.kind,
    sampled.query_key,
    sampled.user_id,
    sampled.queried_on,
    sampled.n_context_items,
    sampled.n_relevant,
    coalesce(users.stage, 'unknown') as stage,
    coalesce(users.n_baskets, 0) as n_baskets
from sampled
left join users on sampled.user_id = users.user_id
where sampled.sample_rank <= {{ setting("checkout_queries") }}
