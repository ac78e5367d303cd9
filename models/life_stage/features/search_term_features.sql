-- Search term features: one row per search term and feature, from all feature groups of search terms.
{{ config(materialized="table") }}
{% for family in feature_families(["feature", "search_term"]) %}
    select distinct search_term, {{ named_feature(family) }} as feature
    from {{ ref(family) }}
    union all
{% endfor %}
select cast(null as string) as search_term, cast(null as string) as feature
where false
