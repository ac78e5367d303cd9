-- Size within a category, one row per item: 80 is a toddler's trousers, L is a diaper.
select item_id, concat('size=', category, '|', size) as feature
from {{ ref("stg_items") }}
where category is not null and size is not null
