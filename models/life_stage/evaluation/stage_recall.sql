-- Recall and precision by stage, one row per method, period and stage.
with
    of_users as (
        select
            predictions.method,
            cohorts.period,
            stages.stage,
            predictions.user_id,
            sum(case when predictions.true_stage = stages.stage then 1 else 0 end) as n_months,
            sum(case when predictions.predicted_stage = stages.stage then 1 else 0 end) as n_predicted,
            sum(case when predictions.is_right and predictions.true_stage = stages.stage then 1 else 0 end) as n_right
        from {{ ref("stage_predictions") }} as predictions
        inner join
            {{ ref("evaluation_cohorts") }} as cohorts
            on predictions.user_id = cohorts.user_id
            and predictions.month = cohorts.month
            and cohorts.cohort = 'all'
        cross join {{ ref("stages") }} as stages
        group by predictions.method, cohorts.period, stages.stage, predictions.user_id
    ),
    counted as (
        select
            method,
            period,
            stage,
            cast(sum(n_months) as bigint) as n_user_months,
            cast(sum(n_right) as double) / nullif(sum(n_months), 0) as recall,
            cast(sum(n_right) as double) / nullif(sum(n_predicted), 0) as precision_share,
            {{ effective_sample_size("n_months") }} as n_months_effective,
            {{ effective_sample_size("n_predicted") }} as n_predicted_effective
        from of_users
        group by method, period, stage
    ),
    errors as (
        select
            counted.method,
            counted.period,
            counted.stage,
            {{ error_of_mean("(of_users.n_right - counted.recall * of_users.n_months) / counted.n_user_months") }}
            as recall_error
        from of_users
        inner join
            counted
            on of_users.method = counted.method
            and of_users.period = counted.period
            and of_users.stage = counted.stage
        where of_users.n_months > 0
        group by counted.method, counted.period, counted.stage
    )
select
    counted.method,
    counted.period,
    counted.stage,
    counted.n_user_months,
    counted.recall,
    errors.recall_error,
    {{ wilson_limits("counted.recall", "counted.n_months_effective", "recall") }},
    counted.precision_share,
    {{ wilson_limits("counted.precision_share", "counted.n_predicted_effective", "precision") }}
from counted
left join errors on counted.method = errors.method and counted.period = errors.period and counted.stage = errors.stage
