-- All features of every item, from all item families.
{% for family in ["feature_categories", "feature_title_ages"] %}
    select distinct item_id, feature
    from {{ ref(family) }}
    {% if not loop.last %}
        union all
    {% endif %}
{% endfor %}
