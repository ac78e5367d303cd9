-- The one long table that every feature flows into: on how many days of the month the user met the feature, or the
-- value that a family gives. Days, not events: they hold against many clicks in one visit and against bulk buys.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "months_to_count"}) }}
-- depends_on: {{ ref("month_ledger") }}
with
    actions as (
        -- Each day of the month is a bit, so that days can be counted without making them distinct first.
        select *, cast(power(2, day(acted_on) - 1) as integer) as day_bit
        from {{ ref("stg_actions") }}
        where month = {{ this_month() }}
    ),
    met as (
        select actions.user_id, item_features.feature, actions.day_bit
        from actions
        inner join {{ ref("item_features") }} as item_features on actions.item_id = item_features.item_id
        union all
        -- Collecting, carting and buying say more than a click: each has a coefficient of its own.
        select actions.user_id, concat(item_features.feature, ':', actions.action) as feature, actions.day_bit
        from actions
        inner join {{ ref("item_features") }} as item_features on actions.item_id = item_features.item_id
        where actions.action <> 'click'
        union all
        select actions.user_id, search_term_features.feature, actions.day_bit
        from actions
        inner join
            {{ ref("search_term_features") }} as search_term_features
            on actions.search_term = search_term_features.search_term
    ),
    days_met as (
        select user_id, feature, cast(bit_count(bit_or(day_bit)) as integer) as n_days
        from met
        group by user_id, feature
    )
select user_id, {{ this_month() }} as month, feature, n_days, ln(1 + n_days) as value
from days_met
{% for family in feature_families(["feature", "month", "user_id", "value"]) %}
    union all
    select
        user_id,
        {{ this_month() }} as month,
        {{ named_feature(family) }} as feature,
        cast(null as integer) as n_days,
        {{ finite_value(family) }} as value
    from {{ ref(family) }}
    where month = {{ this_month() }}
{% endfor %}
