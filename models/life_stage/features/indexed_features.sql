-- Integer id per feature, alone (action '') and with an action, one row per feature and action. Valid for one run:
-- millions of rows are grouped by it, which is faster than by name.
{{ config(materialized="table") }}
with
    -- Collects, carts and purchases are more informative than clicks: each has its own coefficient.
    named as (
        select feature, '' as action, feature as full_name
        from {{ ref("item_features") }}
        union
        select feature, '' as action, feature as full_name
        from {{ ref("search_term_features") }}
        {% for action in ["collect", "cart", "purchase"] %}
            union
            select feature, '{{ action }}' as action, concat(feature, ':{{ action }}') as full_name
            from {{ ref("item_features") }}
        {% endfor %}
    )
select feature, action, full_name, cast(dense_rank() over (order by full_name) as integer) as feature_id
from named
