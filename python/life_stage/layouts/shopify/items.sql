-- Orders have no categories: the vendor stands for the category, and titles carry the signal.
select
    coalesce(nullif(cast("Lineitem sku" as varchar), ''), "Lineitem name") as item_id,
    max("Lineitem name") as title,
    max("Vendor") as leaf_category,
    max("Vendor") as brand,
    max_by("Lineitem price", "Created at") as price
from '{orders}'
group by all
