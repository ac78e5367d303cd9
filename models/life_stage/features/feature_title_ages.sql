-- The ages a product's title names, because whoever looks at "6-12 months" likely has a child of that age.
with title_ages as ({{ read_ages(ref("stg_items"), "title") }})
select items.item_id, 'title_age=' || title_ages.age_word as feature
from {{ ref("stg_items") }} as items
inner join title_ages on items.title = title_ages.text
