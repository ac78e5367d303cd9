-- Raw catalogue items with their validation result, one row per raw row: valid or rejected (with a reason).
with
    typed as (
        select
            {{ id_of("raw_items.item_id") }} as item_id,
            nullif(trim(raw_items.title), '') as title,
            nullif(trim(raw_items.category), '') as category,
            nullif(trim(raw_items.leaf_category), '') as leaf_category,
            nullif(trim(raw_items.brand), '') as brand,
            nullif(trim(raw_items.size), '') as size,
            nullif(nullif(trim({{ text_of_properties("raw_items.properties") }}), ''), 'null') as given_properties
        from ({{ source_rows("items") }}) as raw_items
    ),
    with_properties as (
        select
            *,
            case
                when {{ json_map("given_properties") }} is not null
                then given_properties
                when {{ matches("given_properties", '[^:=;|{}\\[\\]"]+[:=][^;|]*(?:[;|][^:=;|]+[:=][^;|]*)*[;|]?') }}
                then {{ json_of_pairs("given_properties") }}
            end as properties
        from typed
    ),
    ranked as (
        select
            *,
            row_number() over (
                partition by item_id
                order by
                    leaf_category nulls last,
                    category nulls last,
                    title nulls last,
                    brand nulls last,
                    size nulls last,
                    given_properties nulls last
            ) as rank
        from with_properties
    ),
    delivered as (select count(*) as n_rows, count(case when item_id is null then 1 end) as n_rejected from typed)
select
    item_id,
    title,
    category,
    leaf_category,
    brand,
    size,
    properties,
    case when properties is null then given_properties end as raw_properties,
    {{
        fail_if_too_many_rejected(
            "case when item_id is null then 'item_missing' when rank > 1 then 'superseded' end",
            "'items'",
            "delivered.n_rejected",
            "delivered.n_rows",
            "'item_missing'",
        )
    }} as reason,
    rank
from ranked
cross join delivered
