-- Why the newest model is to be replaced before its time: users meet other things than it learned from, or it is no
-- longer right.
{{ config(materialized="view") }}
{% set models, quality = table_of_last_run("stage_coefficients"), table_of_last_run("monitor_quality") %}
select 'drift' as reason, month, feature as measure, stability_index as value, {{ error_threshold() }} as threshold
from {{ ref("model_drift") }}
where level = 'error'
{% if models and quality %}
    union all
    -- Two standard errors below, of all who registered since the model was trained: not by chance.
    select
        'quality' as reason,
        month,
        'accuracy' as measure,
        accuracy as value,
        cast({{ var("quality_floor") }} as double) as threshold
    from
        (
            select max(month) as month, sum(n_cases) as n_cases, sum(accuracy * n_cases) / sum(n_cases) as accuracy
            from {{ quality }}
            where subject = 'life_stage' and month > (select max(trained_through) from {{ models }})
        ) as since
    where
        n_cases >= {{ var("min_cell_users") }}
        and accuracy + 2 * sqrt(accuracy * (1 - accuracy) / n_cases) < {{ var("quality_floor") }}
{% endif %}
