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
    names as (
        select feature_id, feature
        from {{ ref("item_feature_index") }}
        union
        select feature_id, feature
        from {{ ref("term_feature_index") }}
    )
select
    observed_days.user_id,
    {{ this_month() }} as month,
    names.feature,
    observed_days.n_days,
    ln(1 + observed_days.n_days) as value
from observed_days
inner join names on observed_days.feature_id = names.feature_id
union all
select user_id, {{ this_month() }} as month, feature, cast(null as integer) as n_days, value
from {{ ref("user_features") }}
where month = {{ this_month() }} {{ stored_in_order("value") }}
