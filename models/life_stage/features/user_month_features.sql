-- Features per user and month: number of active days per feature, or the value of a feature group. Days are robust to
-- click bursts and bulk purchases.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "months_to_count", "keep": "features"}) }}
-- depends_on: {{ ref("month_calendar") }}
with
    observed_days as (
        select user_id, feature_id, cast(bit_count(bit_or(day_bit)) as integer) as n_days
        from {{ ref("observed_features") }}
        where month = {{ this_month() }}
        group by user_id, feature_id
    ),
    names as (select distinct feature_id, feature from {{ ref("indexed_features") }})
select
    observed_days.user_id,
    {{ this_month() }} as month,
    names.feature,
    observed_days.n_days,
    ln(1 + observed_days.n_days) as value
from observed_days
inner join names on observed_days.feature_id = names.feature_id
{% for feature_group in feature_families(["feature", "month", "user_id", "value"]) %}
    union all
    select
        user_id,
        {{ this_month() }} as month,
        {{ named_feature(feature_group) }} as feature,
        cast(null as integer) as n_days,
        {{ finite_value(feature_group) }} as value
    from {{ ref(feature_group) }}
    where month = {{ this_month() }}
    {% endfor %} {{ stored_in_order("value") }}
