-- The ten features of a month whose weights differ most between ages, one row per user, active month and feature.
-- They are kept as the month is scored, so that stage_attributions reads no other features.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "months_with_model", "keep": "features"}) }}
-- depends_on: {{ ref("month_model_assignments") }} {{ ref("month_calendar") }}
{% set weights = [] %}
{% for bin in bins_in_stages() %} {% do weights.append("w_" ~ bin.name) %} {% endfor %}
with
    spreads as (
        select feature, greatest({{ weights | join(", ") }}) - least({{ weights | join(", ") }}) as spread
        from {{ ref("model_weights") }}
        where model_version = '__model_version__' and feature <> ''
    ),
    ranked as (
        select
            features.user_id,
            features.feature,
            features.n_days,
            features.value,
            row_number() over (
                partition by features.user_id order by abs(features.value) * spreads.spread desc, features.feature
            ) as rank
        from {{ ref("user_month_features") }} as features
        inner join spreads on features.feature = spreads.feature
        where features.month = {{ this_month() }}
    )
select user_id, {{ this_month() }} as month, feature, n_days, value, '__model_version__' as model_version
from ranked
where rank <= 10
