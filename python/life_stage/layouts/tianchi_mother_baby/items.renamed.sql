-- Its commonest categories, of copies without properties.
select
    auction_id as item_id,
    mode(category_1 order by category_1) as category,
    mode(category_2 order by category_2) as leaf_category
from '{trade}'
group by auction_id
