-- Gain over the stateless baseline on the same user-months, absolute and relative, one row per method, period and
-- cohort.
with
    pairs as (
        select
            scores.method,
            scores.period,
            scores.cohort,
            scores.n_months,
            scores.n_right - base.n_right as more_right,
            base.n_right as base_right,
            scores.recall_share - base.recall_share as more_recall,
            base.recall_share as base_recall,
            scores.recall_residual - base.recall_residual as recall_residual,
            scores.log_loss - base.log_loss as more_loss
        from {{ ref("evaluation_user_scores") }} as scores
        inner join
            {{ ref("evaluation_user_scores") }} as base
            on scores.user_id = base.user_id
            and scores.period = base.period
            and scores.cohort = base.cohort
            and base.method = 'memory_less'
        where scores.method <> 'memory_less'
    ),
    gains as (
        select
            method,
            period,
            cohort,
            count(*) as n_users,
            cast(sum(n_months) as bigint) as n_user_months,
            cast(sum(base_right) as double) / sum(n_months) as base_accuracy,
            cast(sum(more_right) as double) / sum(n_months) as accuracy_gain,
            cast(sum(more_right) as double) / nullif(sum(base_right), 0) as relative_accuracy_gain,
            sum(more_recall) as recall_gain,
            sum(more_recall) / nullif(sum(base_recall), 0) as relative_recall_gain,
            sum(more_loss) / sum(n_months) as log_loss_gain
        from pairs
        group by method, period, cohort
    ),
    errors as (
        select
            gains.method,
            gains.period,
            gains.cohort,
            {{ error_of_mean("(pairs.more_right - gains.accuracy_gain * pairs.n_months) / gains.n_user_months") }}
            as accuracy_gain_error,
            {{ error_of_mean("pairs.recall_residual") }} as recall_gain_error,
            {{ error_of_mean("(pairs.more_loss - gains.log_loss_gain * pairs.n_months) / gains.n_user_months") }}
            as log_loss_gain_error
        from pairs
        inner join gains on pairs.method = gains.method and pairs.period = gains.period and pairs.cohort = gains.cohort
        group by gains.method, gains.period, gains.cohort
    )
select
    gains.method,
    gains.period,
    gains.cohort,
    gains.n_users,
    gains.n_user_months,
    gains.accuracy_gain,
    gains.relative_accuracy_gain,
    gains.recall_gain,
    gains.relative_recall_gain,
    gains.log_loss_gain,
    errors.accuracy_gain_error,
    errors.recall_gain_error,
    errors.log_loss_gain_error,
    {{
        verdict(
            "gains.accuracy_gain - 1.96 * errors.accuracy_gain_error",
            "gains.accuracy_gain + 1.96 * errors.accuracy_gain_error",
            "gains.base_accuracy",
            "gains.n_user_months",
            "gains.n_users",
        )
    }} as verdict,
    {{
        is_suppressed_count(
            "gains.n_users", "gains.method, gains.period, " ~ cohort_dimension("gains.cohort"), "gains.cohort"
        )
    }}
    -- Complementary suppression: all minus this cohort gives the users not active in the window.
    or (
        gains.cohort = 'active in the window'
        and min(case when gains.cohort = 'not active in the window' then gains.n_users end) over (
            partition by gains.method, gains.period
        )
        < {{ setting("marts_min_cell_users") }}
    ) as is_suppressed
from gains
inner join errors on gains.method = errors.method and gains.period = errors.period and gains.cohort = errors.cohort
