-- Birthdays. The day of registration is unknown; that of the first purchase is taken.
select babies.user_id, babies.birthday as birth_date, min(trades."day") as registered_at
from '{babies}' as babies
left join '{trade}' as trades on babies.user_id = trades.user_id
where babies.gender is not null or babies.birthday is not null
group by babies.user_id, babies.birthday
