-- Properties are pairs of numbers; titles are not published.
select auction_id as item_id, max(category_1) as category, max_by(category_2, category_1) as leaf_category
from '{trade}'
group by auction_id
