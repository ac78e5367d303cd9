-- Product catalogue, one row per item.
{{ config(materialized="view") }}
select item_id, title, category, leaf_category, brand, size, properties
from {{ ref("stg_item_rows") }}
where reason is null
