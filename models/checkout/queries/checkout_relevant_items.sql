-- Relevant items (ground truth), one row per query and item: the rest of the basket, or purchases of the month's first
-- days.
{{ config(materialized="view") }}
select queries.query_id, lines.item_no
from {{ ref("checkout_queries") }} as queries
inner join
    {{ ref("checkout_lines") }} as lines
    on queries.month = lines.month
    and queries.query_key = lines.basket_id
    and not lines.is_context_item
where queries.kind = 'cart'
union all
select queries.query_id, labels.item_no
from {{ ref("checkout_queries") }} as queries
inner join {{ ref("checkout_labels") }} as labels on queries.month = labels.month and queries.user_id = labels.user_id
where queries.kind = 'user'
