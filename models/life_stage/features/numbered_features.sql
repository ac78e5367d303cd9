-- A number for every feature of items and search terms, alone (action '') and with an action: millions of rows are
-- grouped by it, which takes less time than by names. Numbers are those of one run and are kept nowhere.
{{ config(materialized="table") }}
with
    features as (
        select feature
        from {{ ref("item_features") }}
        union
        select feature
        from {{ ref("search_term_features") }}
    ),
    -- Collecting, carting and buying say more than a click: each has a coefficient of its own.
    named as (
        select feature, '' as action, feature as name
        from features
        {% for action in ["collect", "cart", "purchase"] %}
            union all
            select feature, '{{ action }}' as action, concat(feature, ':{{ action }}') as name
            from features
        {% endfor %}
    )
select feature, action, name, cast(dense_rank() over (order by name) as integer) as feature_no
from named
