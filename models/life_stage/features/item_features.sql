-- Item features: one row per item and feature, from all feature groups of items.
{{ config(materialized="table") }}
{% for family in feature_families(["feature", "item_id"]) %}
    select distinct item_id, {{ named_feature(family) }} as feature
    from {{ ref(family) }}
    union all
{% endfor %}
select cast(null as string) as item_id, cast(null as string) as feature
where false
