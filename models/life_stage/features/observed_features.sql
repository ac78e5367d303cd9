-- Observed features, one row per action and feature of its item or search term, with the day as a bit: counting bits is
-- cheaper than counting distinct days. Read one month at a time.
{{ config(materialized="view") }}
{% set conditions = [
    "actions.item_id = features.item_id and features.action = ''",
    "actions.item_id = features.item_id and features.action = actions.action",
    "actions.search_term = features.search_term",
] %}
{% for condition in conditions %}
    select
        actions.month,
        actions.action_id,
        actions.user_id,
        features.group_id,
        features.feature_id,
        cast(power(2, day(actions.acted_on) - 1) as integer) as day_bit
    from {{ ref("stg_actions") }} as actions
    inner join {{ ref("indexed_features") }} as features on {{ condition }}
    {% if not loop.last %}
        union all
    {% endif %}
{% endfor %}
