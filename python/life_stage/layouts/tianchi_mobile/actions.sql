-- Actions of the public log of mobile shopping, whose times are hours.
select
    user_id,
    "time" as occurred_at,
    case cast(behavior_type as varchar)
        when '1' then 'click' when '2' then 'collect' when '3' then 'cart' when '4' then 'purchase' else cast(behavior_type as varchar)
    end as action,
    item_id,
    source_file
from '{log}'
