-- Substitutes, one row per item and rank: up to ten items of the same leaf category with the most similar description,
-- those of the same size first.
with
    ranked as (
        select
            items.item_id,
            others.item_id as other_item_id,
            similar_items.score,
            row_number() over (
                partition by similar_items.item_no
                order by
                    case when items.type_no = others.type_no then 0 else 1 end,
                    similar_items.score desc,
                    similar_items.other_item_no
            ) as rank
        from {{ ref("checkout_similar_items") }} as similar_items
        inner join {{ ref("checkout_catalogue") }} as items on similar_items.item_no = items.item_no
        inner join
            {{ ref("checkout_catalogue") }} as others
            on similar_items.other_item_no = others.item_no
            and items.leaf_category = others.leaf_category
            and others.is_available
    )
select item_id, cast(rank as integer) as rank, other_item_id, score
from ranked
where rank <= 10
