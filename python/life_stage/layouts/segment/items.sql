-- The products that the events name.
select product_id as item_id, max(name) as title, max(category) as leaf_category, max(brand) as brand
from '{events}'
where cast(product_id as varchar) <> ''
group by product_id
