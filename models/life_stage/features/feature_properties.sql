-- Property features: key and value, one row per item and property. Shops store suitable ages there.
with
    distinct_properties as (select distinct properties from {{ ref("stg_items") }} where properties is not null),
    entries as (select properties, {{ json_entries("properties", "entry") }} from distinct_properties)
select distinct items.item_id, concat('property=', entries.entry_key, '|', entries.entry_value) as feature
from {{ ref("stg_items") }} as items
inner join entries on items.properties = entries.properties
-- Longer values are descriptions, not attributes.
where entries.entry_value is not null and length(entries.entry_value) <= 40
