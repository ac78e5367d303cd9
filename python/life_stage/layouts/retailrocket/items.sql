-- The newest category of an item, and the one above it; all other properties are hashed.
select
    properties.itemid as item_id,
    max_by(tree.parentid, properties."timestamp") as category,
    max_by(properties."value", properties."timestamp") as leaf_category
from '{properties}' as properties
left join '{tree}' as tree on properties."value" = tree.categoryid
where properties.property = 'categoryid'
group by properties.itemid
