-- The table wc_order_product_lookup.
select
    order_item_id as action_id,
    customer_id as user_id,
    date_created as occurred_at,
    'purchase' as action,
    product_id as item_id,
    product_qty as quantity,
    order_id as session_id,
    source_file
from '{orders}'
where try_cast(product_qty as double) > 0
