-- Actions of the public log UserBehavior, whose files have no header row.
-- columns: user_id, item_id, category_id, behavior_type, occurred_at
select user_id, occurred_at, behavior_type as action, item_id, source_file
from '{log}'
