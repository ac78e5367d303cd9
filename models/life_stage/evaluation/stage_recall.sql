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
    stage_counts as (
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
    user_counts as (
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
    stage_counts.method,
    stage_counts.period,
    stage_counts.stage,
    stage_counts.n_user_months,
    cast(stage_counts.n_right as double) / nullif(stage_counts.n_user_months, 0) as recall,
    {{
        error_of_mean(
            "(user_counts.n_right - cast(stage_counts.n_right as double) / stage_counts.n_user_months"
            ~ " * user_counts.n_months) / stage_counts.n_user_months"
        )
    }} as recall_error,
    cast(stage_counts.n_right as double) / nullif(stage_counts.n_predicted, 0) as precision_share
from stage_counts
left join
    user_counts
    on stage_counts.method = user_counts.method
    and stage_counts.period = user_counts.period
    and stage_counts.stage = user_counts.stage
group by
    stage_counts.method,
    stage_counts.period,
    stage_counts.stage,
    stage_counts.n_user_months,
    stage_counts.n_right,
    stage_counts.n_predicted
