-- Model assignment, one row per closed month: the oldest model trained through the month or later, else the newest.
-- Months from var backfill_from on get the newest model; with var training_rescore_after_corrections, also those from
-- the first one on whose model was trained before its months were corrected.
{% set runs = own_source("last_run", "model_runs") %}
{% set corrected = corrected_months(runs, this) if setting("training_rescore_after_corrections") else none %}
{% set first_month = var("backfill_from") or (
    corrected.first_month[:7] if corrected and corrected.newer_model else ""
) %}
{% set backfilled = first_month and "calendar.month >= date '" ~ first_month ~ "-01'" %}
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
            calendar.month,
            models.model_version,
            row_number() over (
                partition by calendar.month
                order by
                    {% if backfilled %}
                        case when {{ backfilled }} then models.trained_through end desc nulls last,
                    {% endif %}
                    case when models.trained_through >= calendar.month then 0 else 1 end,
                    case when models.trained_through >= calendar.month then models.trained_through end,
                    models.trained_through desc,
                    models.model_version
            ) as rank
        from {{ ref("month_calendar") }} as calendar
        cross join {{ ref("model_registry") }} as models
        where calendar.is_closed
    )
select candidates.month, candidates.model_version
from candidates
{% if is_incremental() %} left join {{ this }} as recorded on candidates.month = recorded.month {% endif %}
where
    candidates.rank = 1
    {% if is_incremental() %}
        and (
            recorded.month is null
            {% if backfilled %} or {{ backfilled | replace("calendar", "candidates") }} {% endif %}
        )
    {% endif %}
