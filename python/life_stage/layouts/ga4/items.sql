-- The items of all events.
select
    item.item_id as item_id,
    max(item.item_name) as title,
    max(item.item_category) as category,
    coalesce(
        max(nullif(item.item_category5, '')),
        max(nullif(item.item_category4, '')),
        max(nullif(item.item_category3, '')),
        max(nullif(item.item_category2, '')),
        max(item.item_category)
    ) as leaf_category,
    max(item.item_brand) as brand,
    max_by(item.price, event_timestamp) as price
from (select event_timestamp, unnest(items) as item from '{events}') as events
group by item.item_id
