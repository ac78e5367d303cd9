-- Recall and precision by stage, one row per method, period and stage.
with
    evaluated as (
        select predictions.*, cohorts.period
        from {{ ref("stage_predictions") }} as predictions
        inner join
            {{ ref("evaluation_cohorts") }} as cohorts
            on predictions.user_id = cohorts.user_id
            and predictions.month = cohorts.month
            and cohorts.cohort = 'all'
    ),
    counted as (
        select
            evaluated.method,
            evaluated.period,
            stages.stage,
            sum(case when evaluated.true_stage = stages.stage then 1 else 0 end) as n_user_months,
            sum(case when evaluated.predicted_stage = stages.stage then 1 else 0 end) as n_predicted,
            sum(case when evaluated.is_right and evaluated.true_stage = stages.stage then 1 else 0 end) as n_right
        from evaluated
        cross join {{ ref("stages") }} as stages
        group by evaluated.method, evaluated.period, stages.stage
    ),
    of_users as (
        select
            evaluated.method,
            evaluated.period,
            evaluated.true_stage as stage,
            evaluated.user_id,
            count(*) as n_months,
            sum(case when evaluated.is_right then 1 else 0 end) as n_right
        from evaluated
        group by evaluated.method, evaluated.period, evaluated.true_stage, evaluated.user_id
    )
select
    counted.method,
    counted.period,
    counted.stage,
    counted.n_user_months,
    cast(counted.n_right as double) / nullif(counted.n_user_months, 0) as recall,
    {{
        error_of_mean(
            "(of_users.n_right - cast(counted.n_right as double) / counted.n_user_months * of_users.n_months) / counted.n_user_months"
        )
    }}
    as recall_error,
    cast(counted.n_right as double) / nullif(counted.n_predicted, 0) as precision_share
from counted
left join
    of_users on counted.method = of_users.method and counted.period = of_users.period and counted.stage = of_users.stage
group by counted.method, counted.period, counted.stage, counted.n_user_months, counted.n_right, counted.n_predicted
