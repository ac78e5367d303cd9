-- Features that an action counts for, one row per item or search term, kind of action (empty: any kind) and feature.
-- Integer ids of features and session-category groups are valid for one run: millions of rows are grouped by them,
-- which is faster than by names.
{{ config(materialized="table") }}
with
    -- Collects, carts and purchases are more informative than clicks: each has its own coefficient.
    named as (
        select item_id, cast(null as string) as search_term, '' as action, feature
        from {{ ref("item_features") }}
        {% for action in ["collect", "cart", "purchase"] %}
            union all
            select item_id, null as search_term, '{{ action }}' as action, concat(feature, ':{{ action }}') as feature
            from {{ ref("item_features") }}
        {% endfor %}
        union all
        select null as item_id, search_term, '' as action, feature
        from {{ ref("search_term_features") }}
    ),
    features as (
        select feature, cast(row_number() over (order by feature) as integer) as feature_id
        from (select distinct feature from named) as names
    ),
    items as (
        select item_id, cast(dense_rank() over (order by leaf_category) as integer) as group_id
        from {{ ref("stg_items") }}
    )
select
    named.item_id,
    named.search_term,
    named.action,
    named.feature,
    features.feature_id,
    -- Session-category groups: the leaf categories, all searches (0), and unlisted items (-1).
    case when named.item_id is null then 0 else coalesce(items.group_id, -1) end as group_id
from named
inner join features on named.feature = features.feature
left join items on named.item_id = items.item_id
