-- Recommendable items with an integer index and their catalogue text, one row per item.
{% set described = ["category", "leaf_category", "brand", "size"] %}
with
    items as (
        select
            item_id,
            leaf_category,
            concat(
                coalesce(title, '')
                {%- for column in described %}
                    , coalesce(concat(' {{ column }}=', replace({{ column }}, ' ', '_')), '')
                {%- endfor %},
                ' ',
                coalesce(properties, '')
            ) as words
        from {{ ref("stg_items") }}
        union all
        -- Purchased items without a catalogue entry.
        select taken.item_id, cast(null as string) as leaf_category, '' as words
        from {{ ref("stg_actions") }} as taken
        left join {{ ref("stg_items") }} as known on taken.item_id = known.item_id
        where taken.action in ('cart', 'purchase') and taken.item_id is not null and known.item_id is null
        group by taken.item_id
    )
select cast(row_number() over (order by item_id) as integer) as item_no, item_id, leaf_category, lower(words) as words
from items
where exists (select 1 from {{ ref("checkout_months") }})
