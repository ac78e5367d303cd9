-- Purchases of the public trade history of baby goods: days, taken as midday.
select
    user_id,
    concat("day", ' 12') as occurred_at,
    'purchase' as action,
    auction_id as item_id,
    buy_mount as quantity,
    source_file
from '{trade}'
