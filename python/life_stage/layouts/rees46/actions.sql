-- Events of the public logs REES46.
select
    user_id,
    event_time as occurred_at,
    event_type as action,
    product_id as item_id,
    user_session as session_id,
    price,
    source_file
from '{log}'
