-- Score sums per test user, one row per method, period, cohort and user. Standard errors are computed between users,
-- because months of one user are correlated.
with
    members as (
        select predictions.*, cohorts.cohort, cohorts.period
        from {{ ref("stage_predictions") }} as predictions
        inner join
            {{ ref("evaluation_cohorts") }} as cohorts
            on predictions.user_id = cohorts.user_id
            and predictions.month = cohorts.month
    ),
    recalls as (
        select
            method,
            period,
            cohort,
            true_stage,
            count(*) as n_of_stage,
            avg(cast(is_right as integer)) as recall,
            count(*) over (partition by method, period, cohort) as n_stages
        from members
        group by method, period, cohort, true_stage
    )
select
    members.method,
    members.period,
    members.cohort,
    members.user_id,
    count(*) as n_months,
    sum(case when members.is_right then 1 else 0 end) as n_right,
    sum(members.log_loss) as log_loss,
    sum(case when members.has_prediction then 1 else 0 end) as n_predicted,
    sum(members.age_error_months) as age_error_months,
    -- The user's share of the macro recall, and the first-order change of the macro recall with the user's weight.
    sum(
        {{ exact("cast(cast(members.is_right as integer) as double) / recalls.n_of_stage / recalls.n_stages") }}
    ) as recall_share,
    sum(
        {{ exact("(cast(members.is_right as integer) - recalls.recall) / recalls.n_of_stage / recalls.n_stages") }}
    ) as recall_residual
from members
inner join
    recalls
    on members.method = recalls.method
    and members.period = recalls.period
    and members.cohort = recalls.cohort
    and members.true_stage = recalls.true_stage
group by members.method, members.period, members.cohort, members.user_id
