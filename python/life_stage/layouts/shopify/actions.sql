-- The export of orders: one row per line item.
select
    "Email" as user_id,
    "Created at" as occurred_at,
    'purchase' as action,
    coalesce(nullif(cast("Lineitem sku" as varchar), ''), "Lineitem name") as item_id,
    "Lineitem quantity" as quantity,
    "Lineitem price" as price,
    "Name" as session_id,
    source_file
from '{orders}'
