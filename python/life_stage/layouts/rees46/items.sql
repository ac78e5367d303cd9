-- The log names category, brand and price in every row; the newest price counts.
select
    product_id as item_id,
    split_part(max(category_code), '.', 1) as category,
    coalesce(max(category_code), cast(max(category_id) as varchar)) as leaf_category,
    max(brand) as brand,
    max_by(price, event_time) as price
from '{log}'
group by product_id
