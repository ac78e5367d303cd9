-- Features of all items from all feature groups, one row per item and feature.
{{ config(materialized="table") }}
{% for group in feature_groups(["feature", "item_id"]) %}
    select distinct item_id, {{ named_feature(group) }} as feature
    from {{ ref(group) }}
    union all
{% endfor %}
select cast(null as string) as item_id, cast(null as string) as feature
where false
