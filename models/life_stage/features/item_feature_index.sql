-- Features that an action on an item counts for, one row per item, first month, kind of action (empty: any kind) and
-- feature. Millions of rows are grouped by the integers of features and session-category groups, which is faster than
-- by names.
{{ config(materialized="table") }}
with
    kinds as (
        select 'collect' as action
        union all
        select 'cart' as action
        union all
        select 'purchase' as action
    ),
    -- Collects, carts and purchases are more informative than clicks: each has its own coefficient.
    features_by_action as (
        select item_id, '' as action, feature
        from {{ ref("item_features") }}
        union all
        select features.item_id, kinds.action, concat(features.feature, ':', kinds.action) as feature
        from {{ ref("item_features") }} as features
        cross join kinds
    ),
    versions as (
        select
            item_id,
            catalogue_item_id,
            valid_from_month,
            valid_to_month,
            cast(dense_rank() over (order by leaf_category) as integer) as group_id
        from {{ ref("stg_items") }}
    )
select
    coalesce(versions.catalogue_item_id, features.item_id) as item_id,
    coalesce(versions.valid_from_month, date '1970-01-01') as valid_from_month,
    coalesce(versions.valid_to_month, date '9999-12-01') as valid_to_month,
    features.action,
    features.feature,
    {{ id_of_text("features.feature") }} as feature_id,
    -- Unlisted items are one group.
    coalesce(versions.group_id, -1) as group_id
from features_by_action as features
left join versions on features.item_id = versions.item_id
