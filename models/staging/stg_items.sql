-- Product catalogue with the items that left it, one row per item and month in which its attributes changed. A former
-- version has an item_id of its own, so that feature groups read all versions alike.
{{ config(materialized="view") }}
{% set former = "concat(item_id, ' until ', substring(cast(valid_to_month as string), 1, 7))" %}
select
    case when valid_to_month is null then item_id else {{ former }} end as item_id,
    item_id as catalogue_item_id,
    title,
    category,
    leaf_category,
    brand,
    size,
    properties,
    price,
    left_on is null as is_delivered,
    coalesce(
        {{ months_after("lag(valid_to_month) over (partition by item_id order by valid_to_month nulls last)", 1) }},
        date '1970-01-01'
    ) as valid_from_month,
    coalesce(valid_to_month, date '9999-12-01') as valid_to_month
from {{ ref("stg_item_rows") }}
where reason is null
