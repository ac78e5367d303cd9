-- Events of the public log Retailrocket.
select
    visitorid as user_id,
    "timestamp" as occurred_at,
    event as action,
    itemid as item_id,
    transactionid as session_id,
    source_file
from '{events}'
