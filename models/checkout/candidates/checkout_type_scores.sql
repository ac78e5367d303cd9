-- Probability of each product type in a query, one row per query and type: given the types of the cart, and given those
-- the shopper has looked at. What is seen in visits with these types is shrunk to the overall shares. A next need is
-- a type of a leaf category that the shopper has never looked at.
{{ config(materialized="monthly", meta={"months": "checkout_months_closed", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
{% set n_prior = 4 %}
with
    types as (select * from {{ ref("checkout_product_types") }} where month = {{ this_month() }}),
    queries as (select * from {{ ref("checkout_queries") }} where month = {{ this_month() }}),
    known as (
        select query_id, type_no, sum(in_cart) as in_cart, max(browsed) as browsed
        from
            (
                select known.query_id, catalogue.type_no, cast(1 as double) as in_cart, cast(0 as double) as browsed
                from {{ ref("checkout_query_items") }} as known
                inner join {{ ref("checkout_catalogue") }} as catalogue on known.item_no = catalogue.item_no
                where known.month = {{ this_month() }} and known.context = 'cart'
                union all
                select queries.query_id, browsing.type_no, cast(0 as double) as in_cart, browsing.score as browsed
                from queries
                inner join
                    {{ ref("checkout_browsing") }} as browsing
                    on queries.user_id = browsing.user_id
                    and browsing.month = {{ this_month() }}
            ) as of_queries
        group by query_id, type_no
    ),
    totals as (
        select
            queries.query_id,
            coalesce(sum(known.in_cart), 0) as cart_weight,
            coalesce(sum({{ exact("known.in_cart * types.prior_weight") }}), 0.0) as cart_prior_weight,
            coalesce(sum({{ exact("known.browsed") }}), 0.0) as history_weight,
            coalesce(sum({{ exact("known.browsed * types.prior_weight") }}), 0.0) as history_prior_weight
        from queries
        left join known on queries.query_id = known.query_id
        left join types on known.type_no = types.type_no
        group by queries.query_id
    ),
    seen_together as (
        select
            known.query_id,
            neighbours.other_type_no as type_no,
            sum({{ exact("known.in_cart * neighbours.share") }}) as cart_score,
            sum({{ exact("known.browsed * neighbours.share") }}) as history_score
        from known
        inner join
            {{ ref("checkout_type_neighbours") }} as neighbours
            on neighbours.month = {{ this_month() }}
            and known.type_no = neighbours.type_no
        group by known.query_id, neighbours.other_type_no
    ),
    scores as (
        select
            totals.query_id,
            types.type_no,
            case
                when totals.cart_weight > 0
                then
                    (coalesce(seen_together.cart_score, 0.0) + totals.cart_prior_weight * types.share)
                    / totals.cart_weight
                else types.share
            end as cart_share,
            (coalesce(seen_together.history_score, 0.0) + (totals.history_prior_weight + {{ n_prior }}) * types.share)
            / (totals.history_weight + {{ n_prior }}) as history_share,
            (coalesce(known.browsed, 0.0) + {{ n_prior }} * types.share)
            / (totals.history_weight + {{ n_prior }}) as browsed_share,
            coalesce(known.in_cart, 0) > 0 as is_in_cart,
            count(known.type_no) over (partition by totals.query_id, types.leaf_no) = 0 as is_next_need
        from totals
        cross join types
        left join seen_together on totals.query_id = seen_together.query_id and types.type_no = seen_together.type_no
        left join known on totals.query_id = known.query_id and types.type_no = known.type_no
    )
select
    *, {{ this_month() }} as month, case when is_next_need then history_share else cast(0 as double) end as need_share
from scores
