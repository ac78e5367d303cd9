-- Confusion matrix over the evaluation window, one row per method, true stage and predicted stage.
with
    of_users as (
        select method, true_stage, predicted_stage, user_id, count(*) as n_user_months
        from {{ ref("stage_predictions") }}
        group by method, true_stage, predicted_stage, user_id
    ),
    counted as (
        select
            method,
            true_stage,
            predicted_stage,
            cast(sum(n_user_months) as bigint) as n_user_months,
            count(*) as n_users,
            cast(sum(n_user_months) as double) / sum(sum(n_user_months)) over (partition by method, true_stage) as share
        from of_users
        group by method, true_stage, predicted_stage
    ),
    in_true_stages as (
        select method, true_stage, {{ effective_sample_size("n_user_months") }} as n_effective
        from
            (
                select method, true_stage, user_id, sum(n_user_months) as n_user_months
                from of_users
                group by method, true_stage, user_id
            ) as in_true_stage
        group by method, true_stage
    )
select
    counted.*,
    {{ wilson_limits("counted.share", "in_true_stages.n_effective", "share") }},
    {{ is_suppressed_count("counted.n_users", "counted.method, counted.true_stage", "counted.predicted_stage") }}
    as is_suppressed
from counted
inner join in_true_stages on counted.method = in_true_stages.method and counted.true_stage = in_true_stages.true_stage
