-- Accuracy of each method on the test set with standard errors, one row per method, period and cohort.
with
    means as (
        select
            method,
            period,
            cohort,
            count(*) as n_users,
            cast(sum(n_months) as bigint) as n_user_months,
            cast(sum(n_right) as double) / sum(n_months) as accuracy,
            sum(recall_share) as macro_recall,
            sum(log_loss) / sum(n_months) as log_loss,
            sum(age_error_months) / sum(n_predicted) as age_error_months,
            cast(sum(n_predicted) as double) / sum(n_months) as coverage,
            {{ effective_sample_size("n_months") }} as n_months_effective
        from {{ ref("evaluation_user_scores") }}
        group by method, period, cohort
    ),
    errors as (
        select
            means.method,
            means.period,
            means.cohort,
            {{ error_of_mean("(scores.n_right - means.accuracy * scores.n_months) / means.n_user_months") }}
            as accuracy_error,
            {{ error_of_mean("scores.recall_residual") }} as macro_recall_error,
            {{ error_of_mean("(scores.log_loss - means.log_loss * scores.n_months) / means.n_user_months") }}
            as log_loss_error
        from {{ ref("evaluation_user_scores") }} as scores
        inner join
            means on scores.method = means.method and scores.period = means.period and scores.cohort = means.cohort
        group by means.method, means.period, means.cohort
    ),
    calibration as (
        select method, period, cohort, sum(abs(gap)) / sum(n_user_months) as calibration_error
        from
            (
                select
                    predictions.method,
                    cohorts.period,
                    cohorts.cohort,
                    count(*) as n_user_months,
                    sum(
                        {{ exact("cast(predictions.is_right as integer) - predictions.predicted_stage_probability") }}
                    ) as gap
                from {{ ref("stage_predictions") }} as predictions
                inner join
                    {{ ref("evaluation_cohorts") }} as cohorts
                    on predictions.user_id = cohorts.user_id
                    and predictions.month = cohorts.month
                group by
                    predictions.method,
                    cohorts.period,
                    cohorts.cohort,
                    {{ probability_bin("predictions.predicted_stage_probability") }}
            ) as bins
        group by method, period, cohort
    )
select
    means.method,
    means.period,
    means.cohort,
    means.n_users,
    means.n_user_months,
    means.accuracy,
    means.macro_recall,
    means.log_loss,
    means.age_error_months,
    means.coverage,
    errors.accuracy_error,
    {{ wilson_limits("means.accuracy", "means.n_months_effective", "accuracy") }},
    errors.macro_recall_error,
    errors.log_loss_error,
    calibration.calibration_error,
    {{ is_suppressed_count("means.n_users", "means.method, means.cohort", "means.period") }} as is_suppressed
from means
inner join errors on means.method = errors.method and means.period = errors.period and means.cohort = errors.cohort
inner join
    calibration
    on means.method = calibration.method
    and means.period = calibration.period
    and means.cohort = calibration.cohort
