-- Properties are pairs of numbers; titles are not published.
select auction_id as item_id, max(cat1) as category, max_by(cat_id, cat1) as leaf_category, max(property) as properties
from '{trade}'
group by auction_id
