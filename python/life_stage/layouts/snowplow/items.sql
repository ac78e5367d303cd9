-- The products that the interactions name.
select
    product_id as item_id,
    max(product_name) as title,
    max(product_category) as category,
    coalesce(max(product_subcategory), max(product_category)) as leaf_category,
    max(product_brand) as brand
from '{interactions}'
group by product_id
