-- Recommendable items with an integer index and their catalogue text, one row per item.
{% set described = ["category", "leaf_category", "brand", "size"] %}
with
    items as (
        select
            item_id,
            leaf_category,
            brand,
            is_delivered as is_available,
            size,
            concat(
                coalesce(title, '')
                {%- for column in described %}
                    , coalesce(' {{ column }}=' || replace({{ column }}, ' ', '_'), '')
                {%- endfor %},
                ' ',
                coalesce(properties, '')
            ) as words
        from {{ ref("stg_items") }}
        where item_id = catalogue_item_id
        union all
        -- Purchased items without a catalogue entry.
        select
            basket_actions.item_id,
            cast(null as string) as leaf_category,
            cast(null as string) as brand,
            true as is_available,
            cast(null as string) as size,
            '' as words
        from {{ ref("stg_actions") }} as basket_actions
        left join {{ ref("stg_items") }} as known on basket_actions.item_id = known.item_id
        where
            basket_actions.action in ('cart', 'purchase')
            and basket_actions.item_id is not null
            and known.item_id is null
        group by basket_actions.item_id
    ),
    -- A size has a type of its own if enough items have it, so that types stay a thousand or so.
    typed as (
        select
            *,
            case
                when
                    count(*) over (partition by leaf_category, size)
                    >= greatest({{ items_of_a_type() }}, count(*) over () / 1000)
                    and size is not null
                then leaf_category || ' ' || size
                else leaf_category
            end as product_type
        from items
    )
select
    cast(row_number() over (order by item_id) as integer) as item_no,
    item_id,
    leaf_category,
    coalesce(brand, '') as brand,
    is_available,
    product_type,
    cast(dense_rank() over (order by coalesce(product_type, '')) as integer) as type_no,
    cast(dense_rank() over (order by coalesce(leaf_category, '')) as integer) as leaf_no,
    lower(words) as words
from typed
where exists (select 1 from {{ ref("checkout_months") }})
