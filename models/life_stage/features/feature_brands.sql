-- Brand within a category, one row per item: the same brand means another age for formula than for toys.
select item_id, concat('brand=', category, '|', brand) as feature
from {{ ref("stg_items") }}
where category is not null and brand is not null
