-- Cart complements, one row per item and rank: for each of the product types seen most typically in visits with the
-- item's type, and of another leaf category, its item seen most, of the same brand if there is one. Without ten such
-- types, items of other categories with similar descriptions follow.
-- A pair of types needs at least var marts_min_cell_users shoppers in the last year: a rare one could identify a
-- family.
with
    target as (select month from {{ ref("checkout_months") }} where not is_closed),
    items as (
        select catalogue.*, items.share_of_type
        from {{ ref("checkout_catalogue") }} as catalogue
        inner join {{ ref("checkout_items") }} as items on catalogue.item_no = items.item_no
        inner join target on items.month = target.month
    ),
    leaves as (select type_no, min(leaf_category) as leaf_category from items group by type_no),
    -- The contribution of the other type to the divergence of what is seen with the type from what is seen at all.
    typical as (
        select
            neighbours.type_no,
            neighbours.other_type_no,
            neighbours.share * ln(neighbours.share / others.share) as score
        from {{ ref("checkout_type_neighbours") }} as neighbours
        inner join target on neighbours.month = target.month
        inner join
            {{ ref("checkout_product_types") }} as others
            on neighbours.month = others.month
            and neighbours.other_type_no = others.type_no
        inner join leaves on neighbours.type_no = leaves.type_no
        inner join leaves as other_leaves on neighbours.other_type_no = other_leaves.type_no
        where neighbours.share > 1.2 * others.share and leaves.leaf_category <> other_leaves.leaf_category
    ),
    likely as (
        select *, row_number() over (partition by type_no order by score desc, other_type_no) as type_rank from typical
    ),
    supported as (
        select likely.type_no, likely.other_type_no, likely.score
        from likely
        inner join {{ ref("checkout_visits") }} as one on likely.type_no = one.type_no
        inner join
            {{ ref("checkout_visits") }} as another
            on likely.other_type_no = another.type_no
            and one.month = another.month
            and one.visit_no = another.visit_no
        inner join target on one.month >= {{ months_after("target.month", -12) }}
        where likely.type_rank <= 30
        group by likely.type_no, likely.other_type_no, likely.score
        having count(distinct one.user_id) >= {{ setting("marts_min_cell_users") }}
    ),
    -- One type of a leaf category, so that ten sizes of trousers are no list.
    best_types as (
        select type_no, other_type_no, score
        from
            (
                select
                    supported.*,
                    row_number() over (
                        partition by supported.type_no, leaves.leaf_category
                        order by supported.score desc, supported.other_type_no
                    ) as rank_in_leaf
                from supported
                inner join leaves on supported.other_type_no = leaves.type_no
            ) as of_leaves
        where rank_in_leaf = 1
    ),
    seen_most as (
        select *
        from
            (
                select
                    type_no,
                    brand,
                    item_no,
                    share_of_type,
                    row_number() over (partition by type_no order by share_of_type desc, item_no) as rank_in_type,
                    row_number() over (
                        partition by type_no, brand order by share_of_type desc, item_no
                    ) as rank_in_brand
                from items
                where is_available
            ) as ranked_items
        where rank_in_type = 1 or rank_in_brand = 1
    ),
    seen_together as (
        select items.item_no, coalesce(of_brand.item_no, of_type.item_no) as other_item_no, best_types.score
        from items
        inner join best_types on items.type_no = best_types.type_no
        inner join seen_most as of_type on best_types.other_type_no = of_type.type_no and of_type.rank_in_type = 1
        left join
            seen_most as of_brand
            on best_types.other_type_no = of_brand.type_no
            and items.brand = of_brand.brand
            and of_brand.rank_in_brand = 1
    ),
    complements as (
        select item_no, other_item_no, score, 'together' as reason
        from seen_together
        union all
        select similar_items.item_no, similar_items.other_item_no, similar_items.score, 'alike' as reason
        from {{ ref("checkout_similar_items") }} as similar_items
        inner join items on similar_items.item_no = items.item_no
        inner join items as others on similar_items.other_item_no = others.item_no and others.is_available
        left join
            seen_together
            on similar_items.item_no = seen_together.item_no
            and similar_items.other_item_no = seen_together.other_item_no
        where items.leaf_category <> others.leaf_category and seen_together.item_no is null
    ),
    ranked as (
        select
            *,
            row_number() over (
                partition by item_no order by case when reason = 'alike' then 1 else 0 end, score desc, other_item_no
            ) as rank
        from complements
    )
select
    target.month,
    items.item_id,
    cast(ranked.rank as integer) as rank,
    others.item_id as other_item_id,
    ranked.score,
    ranked.reason
from ranked
cross join target
inner join items on ranked.item_no = items.item_no
inner join items as others on ranked.other_item_no = others.item_no
where ranked.rank <= 10
