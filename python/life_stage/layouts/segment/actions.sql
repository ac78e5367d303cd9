-- Event tables of Segment or RudderStack, such as product_viewed and product_added, as files of one folder.
select
    id as action_id,
    coalesce(nullif(cast(user_id as varchar), ''), anonymous_id) as user_id,
    "timestamp" as occurred_at,
    event as action,
    product_id as item_id,
    source_file
from '{events}'
