-- Size features, one row per item with a size. Sizes are split by category: 80 is a clothing size, L a diaper size.
select item_id, concat('size=', category, '|', size) as feature
from {{ ref("stg_items") }}
where category is not null and size is not null
