-- Features of users' months from all feature groups with values, one row per user, month and feature.
{% for group in feature_groups(["feature", "month", "user_id", "value"]) %}
    select user_id, month, {{ named_feature(group) }} as feature, {{ only_value(group) }} as value
    from {{ ref(group) }}
    group by user_id, month, feature
    union all
{% endfor %}
select
    cast(null as string) as user_id,
    cast(null as date) as month,
    cast(null as string) as feature,
    cast(null as double) as value
where false
