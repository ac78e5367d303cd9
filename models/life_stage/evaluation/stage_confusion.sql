-- Confusion matrix over the evaluation window, one row per method, true stage and predicted stage.
with
    counted as (
        select
            method,
            true_stage,
            predicted_stage,
            count(*) as n_user_months,
            count(distinct user_id) as n_users,
            cast(count(*) as double) / sum(count(*)) over (partition by method, true_stage) as share
        from {{ ref("stage_predictions") }}
        group by method, true_stage, predicted_stage
    )
select *, {{ is_suppressed_count("n_users", "method, true_stage", "predicted_stage") }} as is_suppressed
from counted
