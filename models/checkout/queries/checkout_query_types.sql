-- Product types of a query, one row per query, context and type: those of the cart, and those the shopper has looked
-- at.
{{ config(materialized="monthly", meta={"months": "checkout_months_closed", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
select
    known.query_id,
    {{ this_month() }} as month,
    'cart' as context,
    catalogue.type_no,
    cast(count(*) as double) as weight
from {{ ref("checkout_query_items") }} as known
inner join {{ ref("checkout_catalogue") }} as catalogue on known.item_no = catalogue.item_no
where known.month = {{ this_month() }} and known.context = 'cart'
group by known.query_id, catalogue.type_no
union all
select queries.query_id, {{ this_month() }} as month, 'history' as context, browsing.type_no, browsing.score as weight
from {{ ref("checkout_queries") }} as queries
inner join
    {{ ref("checkout_browsing") }} as browsing
    on queries.user_id = browsing.user_id
    and browsing.month = {{ this_month() }}
where queries.month = {{ this_month() }}
