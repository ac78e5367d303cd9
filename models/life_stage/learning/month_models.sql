-- Which model scores which month. A month keeps its model: the oldest one trained through it or later, else the newest.
-- Months from var restate_from on are given the newest model anew.
{% set restated = var("restate_from") and "ledger.month >= date '" ~ var("restate_from") ~ "-01'" %}
{{
    config(
        materialized="incremental",
        incremental_strategy="delete+insert",
        unique_key="month",
        full_refresh=false,
    )
}}
with
    candidates as (
        select
            ledger.month,
            models.model_version,
            row_number() over (
                partition by ledger.month
                order by
                    {% if restated %}
                        case when {{ restated }} then models.trained_through end desc nulls last,
                    {% endif %}
                    case when models.trained_through >= ledger.month then 0 else 1 end,
                    case when models.trained_through >= ledger.month then models.trained_through end,
                    models.trained_through desc,
                    models.model_version
            ) as rank
        from {{ ref("month_ledger") }} as ledger
        cross join {{ ref("stage_models") }} as models
        where ledger.is_closed
    )
select candidates.month, candidates.model_version
from candidates
{% if is_incremental() %} left join {{ this }} as recorded on candidates.month = recorded.month {% endif %}
where
    candidates.rank = 1
    {% if is_incremental() %}
        and (recorded.month is null {% if restated %} or {{ restated | replace("ledger", "candidates") }} {% endif %})
    {% endif %}
