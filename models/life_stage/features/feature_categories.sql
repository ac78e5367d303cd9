-- Category features: first-level and leaf category, one row per item and feature.
select item_id, concat('category=', category) as feature
from {{ ref("stg_items") }}
where category is not null
union all
select item_id, concat('leaf=', leaf_category) as feature
from {{ ref("stg_items") }}
where leaf_category is not null
