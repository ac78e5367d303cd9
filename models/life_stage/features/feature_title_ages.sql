-- Ages named in item titles, one row per item and age. Viewers of "6-12 months" likely have a child of that age.
select items.item_id, concat('title_age=', ages.age_word) as feature
from {{ ref("stg_items") }} as items
inner join {{ ref("text_ages") }} as ages on items.title = ages.text
where ages.age_word is not null
