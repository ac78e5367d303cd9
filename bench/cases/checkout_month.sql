-- Inputs of bench/checkout_peers.py in a month: queries of a kind, and lines before the month or before the query.
{% set queries %}
    (
        select query_id, user_id, queried_on, row_number() over (order by query_id) - 1 as number
        from checkout_queries where kind = '{{ kind }}' and n_relevant > 0 and month = date '{{ month }}'
    ) as queries
{% endset %}
{% set lines = "(select *, concat(month, ' ', basket_id) as basket from checkout_lines) as lines" %}
{% set before %}
    (
        select item_no, acted_on, basket, dense_rank() over (order by user_id) - 1 as user_no,
            dense_rank() over (order by basket) - 1 as basket_no
        from {{ lines }} where month < date '{{ month }}'
    )
{% endset %}
{% set known %}
    (
        select number, lines.* from {{ queries }}
        inner join {{ lines }} on queries.user_id = lines.user_id and lines.acted_on < queries.queried_on
    )
{% endset %}
-- name: user_ids
select user_id
from {{ queries }}
order by number
;
-- name: users
select user_no, item_no
from {{ before }}
;
-- name: baskets
select basket_no, item_no
from {{ before }}
;
-- name: known
select number, item_no
from {{ known }}
;
-- name: carts
select number, item_no
from {{ queries }}
inner join (from checkout_query_items where context = 'cart') using (query_id)
;
-- name: relevant_items
select number, item_no
from {{ queries }}
inner join checkout_relevant_items using (query_id)
;
-- name: histories
select user_no, list(items order by acted_on, basket)
from
    (
        select user_no, basket, min(acted_on) as acted_on, list(item_no order by item_no) as items
        from {{ before }}
        group by all
    )
group by user_no
;
-- name: known_baskets
select number, list(items order by acted_on, basket)
from
    (
        select number, basket, min(acted_on) as acted_on, list(item_no order by item_no) as items
        from {{ known }}
        group by all
    )
group by number
;
