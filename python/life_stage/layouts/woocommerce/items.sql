-- The table wc_order_product_lookup has no titles and categories: join those of the products here.
select product_id as item_id, cast(null as varchar) as leaf_category
from '{orders}'
group by product_id
