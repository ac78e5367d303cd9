-- Dimension of items, one row per item of the catalogue, with those that left it.
{{ config(materialized="view") }}
select item_id, title, category, leaf_category, brand, size, price, is_delivered
from {{ ref("stg_items") }}
where item_id = catalogue_item_id
