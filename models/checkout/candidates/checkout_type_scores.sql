-- Probability of each product type in a query, one row per query and type: given the types of the cart, and given those
-- the shopper has looked at. What is seen in visits with these types is shrunk to the overall shares.
{{ config(materialized="monthly", meta={"months": "checkout_months_closed", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
{% set contexts, n_prior = ["cart", "history"], 4 %}
with
    types as (select * from {{ ref("checkout_product_types") }} where month = {{ this_month() }}),
    known as (
        select query_types.*, types.prior_weight
        from {{ ref("checkout_query_types") }} as query_types
        inner join types on query_types.type_no = types.type_no
        where query_types.month = {{ this_month() }}
    ),
    totals as (
        select
            queries.query_id
            {% for context in contexts %}
                {% set of_context = "case when known.context = '" ~ context ~ "' then known.weight else 0.0 end" %},
                coalesce(sum({{ exact(of_context) }}), 0.0) as {{ context }}_weight,
                coalesce(sum({{ exact(of_context ~ " * known.prior_weight") }}), 0.0) as {{ context }}_prior_weight
            {% endfor %}
        from {{ ref("checkout_queries") }} as queries
        left join known on queries.query_id = known.query_id
        where queries.month = {{ this_month() }}
        group by queries.query_id
    ),
    seen_together as (
        select
            known.query_id,
            neighbours.other_type_no as type_no
            {% for context in contexts %}
                {% set score = "known.weight * neighbours.share" %},
                sum(
                    {{ exact("case when known.context = '" ~ context ~ "' then " ~ score ~ " else 0.0 end") }}
                ) as {{ context }}_score
            {% endfor %}
        from known
        inner join
            {{ ref("checkout_type_neighbours") }} as neighbours
            on neighbours.month = {{ this_month() }}
            and known.type_no = neighbours.type_no
        group by known.query_id, neighbours.other_type_no
    )
select
    totals.query_id,
    {{ this_month() }} as month,
    types.type_no,
    case
        when totals.cart_weight > 0
        then (coalesce(seen_together.cart_score, 0.0) + totals.cart_prior_weight * types.share) / totals.cart_weight
        else types.share
    end as cart_share,
    (coalesce(seen_together.history_score, 0.0) + (totals.history_prior_weight + {{ n_prior }}) * types.share)
    / (totals.history_weight + {{ n_prior }}) as history_share,
    (coalesce(browsed.weight, 0.0) + {{ n_prior }} * types.share)
    / (totals.history_weight + {{ n_prior }}) as browsed_share,
    in_cart.type_no is not null as is_in_cart
from totals
cross join types
left join seen_together on totals.query_id = seen_together.query_id and types.type_no = seen_together.type_no
left join
    known as browsed
    on totals.query_id = browsed.query_id
    and types.type_no = browsed.type_no
    and browsed.context = 'history'
left join
    known as in_cart
    on totals.query_id = in_cart.query_id
    and types.type_no = in_cart.type_no
    and in_cart.context = 'cart'
