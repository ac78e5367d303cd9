-- Events of the BigQuery export of Google Analytics 4, as Parquet. An event names several items.
select
    coalesce(events.user_id, events.user_pseudo_id) as user_id,
    events.event_timestamp as occurred_at,
    events.event_name as action,
    item.item_id as item_id,
    list_filter(events.event_params, lambda pair:pair.key = 'search_term')[1].value.string_value as search_term,
    item.quantity as quantity,
    item.price as price,
    events.device.category as device,
    events.source_file
from
    (
        select *, unnest(case when event_name like '%search%' then [null] else items end) as item
        from '{events}'
        where
            event_name in ('view_search_results', 'search', 'select_item', 'view_item', 'add_to_wishlist')
            or event_name in ('add_to_cart', 'purchase')
    ) as events
