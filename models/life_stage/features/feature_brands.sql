-- Which brand of which kind of thing: a brand of formula tells another age than the same brand of toys.
select item_id, concat('brand=', category, '|', brand) as feature
from {{ ref("stg_items") }}
where category is not null and brand is not null
