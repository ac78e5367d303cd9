-- Retraining triggers, one row per trigger, month and measure: feature drift above the error level, or accuracy below
-- training_quality_floor.
{{ config(materialized="view") }}
{% set models, quality = (
    existing(own_source("last_run", "stage_coefficients")),
    existing(own_source("last_run", "monitor_quality")),
) %}
select 'drift' as reason, month, feature as measure, stability_index as value, {{ error_threshold() }} as threshold
from {{ ref("model_drift") }}
where level = 'error'
{% if models and quality %}
    union all
    -- An interval below the floor excludes chance. Counts all registrations since the training, one per user.
    select
        'quality' as reason,
        month,
        'accuracy' as measure,
        accuracy as value,
        cast({{ setting("training_quality_floor") }} as double) as threshold
    from
        (
            select max(month) as month, sum(n_cases) as n_cases, sum(accuracy * n_cases) / sum(n_cases) as accuracy
            from {{ quality }}
            where subject = 'life_stage' and month > (select max(trained_through) from {{ models }})
        ) as since
    where
        n_cases >= {{ setting("marts_min_cell_users") }}
        and {{ wilson_limit("accuracy", "n_cases", "highest") }} < {{ setting("training_quality_floor") }}
{% endif %}
