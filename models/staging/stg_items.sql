-- Product catalogue with the items that left it, one row per item.
{{ config(materialized="view") }}
select item_id, title, category, leaf_category, brand, size, properties, left_on is null as is_delivered
from {{ ref("stg_item_rows") }}
where reason is null
