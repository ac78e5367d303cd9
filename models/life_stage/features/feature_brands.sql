-- Brand features, one row per item with a brand. Brands are split by category: a brand of formula and the same brand of
-- toys belong to different ages.
select item_id, concat('brand=', category, '|', brand) as feature
from {{ ref("stg_items") }}
where category is not null and brand is not null
