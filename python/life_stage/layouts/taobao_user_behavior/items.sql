-- The log has one level of categories.
-- columns: user_id, item_id, category_id, behavior_type, occurred_at
select item_id, max(category_id) as category, max(category_id) as leaf_category
from '{log}'
group by item_id
