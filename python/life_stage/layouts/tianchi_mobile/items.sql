-- The log has one level of categories.
select item_id, max(item_category) as category, max(item_category) as leaf_category
from '{log}'
group by item_id
