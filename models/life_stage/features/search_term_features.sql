-- Features of all search terms from all feature groups, one row per term and feature.
{{ config(materialized="table") }}
{% for group in feature_groups(["feature", "search_term"]) %}
    select distinct search_term, {{ named_feature(group) }} as feature
    from {{ ref(group) }}
    union all
{% endfor %}
select cast(null as string) as search_term, cast(null as string) as feature
where false
