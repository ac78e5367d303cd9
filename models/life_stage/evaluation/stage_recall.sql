-- How much of each stage a method finds, and how much of what it calls so is of that stage.
with
    counted as (
        select
            predictions.method,
            cohorts.period,
            stages.stage,
            sum(case when predictions.true_stage = stages.stage then 1 else 0 end) as n_user_months,
            sum(case when predictions.predicted_stage = stages.stage then 1 else 0 end) as n_told,
            sum(case when predictions.is_right and predictions.true_stage = stages.stage then 1 else 0 end) as n_right
        from {{ ref("stage_predictions") }} as predictions
        inner join
            {{ ref("evaluation_cohorts") }} as cohorts
            on predictions.user_id = cohorts.user_id
            and predictions.month = cohorts.month
            and cohorts.cohort = 'all'
        cross join {{ ref("stages") }} as stages
        group by predictions.method, cohorts.period, stages.stage
    ),
    of_users as (
        select
            predictions.method,
            cohorts.period,
            predictions.true_stage as stage,
            predictions.user_id,
            count(*) as n_months,
            sum(case when predictions.is_right then 1 else 0 end) as n_right
        from {{ ref("stage_predictions") }} as predictions
        inner join
            {{ ref("evaluation_cohorts") }} as cohorts
            on predictions.user_id = cohorts.user_id
            and predictions.month = cohorts.month
            and cohorts.cohort = 'all'
        group by predictions.method, cohorts.period, predictions.true_stage, predictions.user_id
    )
select
    counted.method,
    counted.period,
    counted.stage,
    counted.n_user_months,
    counted.n_right * 1.0 / nullif(counted.n_user_months, 0) as recall,
    {{
        error_of_mean(
            "(of_users.n_right - counted.n_right * 1.0 / counted.n_user_months * of_users.n_months) / counted.n_user_months"
        )
    }}
    as recall_error,
    counted.n_right * 1.0 / nullif(counted.n_told, 0) as precision_share
from counted
left join
    of_users on counted.method = of_users.method and counted.period = of_users.period and counted.stage = of_users.stage
group by counted.method, counted.period, counted.stage, counted.n_user_months, counted.n_right, counted.n_told
