-- Its commonest categories; properties are pairs of numbers; titles are not published.
select
    auction_id as item_id,
    mode(cat1 order by cat1) as category,
    mode(cat_id order by cat_id) as leaf_category,
    max(property) as properties
from '{trade}'
group by auction_id
