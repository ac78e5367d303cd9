-- Integer id per feature, valid for one run, alone (action '') and with an action. Grouping by integer is cheaper
-- than by name.
{{ config(materialized="table") }}
with
    -- Collecting, carting and buying say more than a click: each has a coefficient of its own.
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
