-- Raw catalogue items with their validation result, one row per raw row: valid or rejected (with a reason). Items that
-- left the catalogue keep their newest attributes, and changed items their former ones, so that a month that is staged
-- again keeps its features. New attributes are valid from the calendar month in which a run first reads them.
{{ config(meta={"always_built": true, "check": "check_items"}) }}
-- depends_on: {{ ref("rejection_reasons") }}
{% set known = existing(this) %}
{% set last_month = months_after(month_of(business_time(clock())), -1) %}
{% set attributes = ["title", "category", "leaf_category", "brand", "size", "properties"] %}
with
    typed as (
        select
            {{ id_of("raw_items.item_id") }} as item_id,
            {% for attribute in attributes[:5] %}
                nullif(trim(raw_items.{{ attribute }}), '') as {{ attribute }},
            {% endfor %}
            nullif(nullif(trim(raw_items.properties), ''), 'null') as given_properties,
            raw_items.price as raw_price,
            {{ price_of("raw_items.price") }} as price,
            raw_items.item_id as raw_item_id
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
            {{
                readings(
                    {
                        "item_id": ["raw_item_id", none],
                        "properties": ["given_properties", "properties"],
                        "price": ["raw_price", "price"],
                    }
                )
            }} as readings,
            row_number() over (
                partition by item_id
                order by
                    leaf_category nulls last,
                    category nulls last,
                    title nulls last,
                    brand nulls last,
                    size nulls last,
                    given_properties nulls last,
                    price nulls last
            ) as rank
        from with_properties
    ),
    delivered as (
        select
            *,
            case when item_id is null then 'item_missing' when rank > 1 then 'superseded' end as reason,
            cast(null as date) as left_on
        from ranked
    )
    {% if known %}
        ,
        known_items as (select * from {{ known }} where reason is null and valid_to_month is null),
        left_items as (
            select known.*
            from known_items as known
            left join delivered on known.item_id = delivered.item_id and delivered.reason is null
            where delivered.item_id is null
        ),
        former_items as (select * from {{ known }} where reason is null and valid_to_month is not null),
        -- What was not given is no former attribute: the new one is valid for all months.
        changed_items as (
            select known.*
            from known_items as known
            inner join delivered on known.item_id = delivered.item_id and delivered.reason is null
            left join
                former_items as former on known.item_id = former.item_id and former.valid_to_month >= {{ last_month }}
            where
                former.item_id is null
                and (
                    {% for attribute in attributes %}
                        known.{{ attribute }} <> coalesce(delivered.{{ attribute }}, '')
                        {% if not loop.last %} or {% endif %}
                    {% endfor %}
                )
        ),
        losses as ({{ losses("known_items where true", "left_items") }})
    {% endif %}
select
    item_id, {{ attributes | join(", ") }}, price, readings, reason, rank, left_on, cast(null as date) as valid_to_month
from delivered
{% if known %}
    union all
    select
        left_items.item_id,
        {% for attribute in attributes %} left_items.{{ attribute }}, {% endfor %}
        left_items.price,
        left_items.readings,
        left_items.reason,
        left_items.rank,
        {{ left_on("items", "left_items") }} as left_on,
        cast(null as date) as valid_to_month
    from left_items
    cross join losses
    union all
    select item_id, {{ attributes | join(", ") }}, null, readings, reason, rank, left_on, {{ last_month }}
    from changed_items
    union all
    select item_id, {{ attributes | join(", ") }}, price, readings, reason, rank, left_on, valid_to_month
    from former_items
{% endif %}
