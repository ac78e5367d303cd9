-- Reliability diagram of each method, one row per method and probability bin.
with
    of_users as (
        select
            method,
            {{ probability_bin("predicted_stage_probability") }} as probability_bin,
            user_id,
            count(*) as n_user_months,
            sum({{ exact("predicted_stage_probability") }}) as sum_probability,
            sum(cast(is_right as integer)) as n_right
        from {{ ref("stage_predictions") }}
        group by method, {{ probability_bin("predicted_stage_probability") }}, user_id
    ),
    counted as (
        select
            method,
            probability_bin,
            cast(sum(n_user_months) as bigint) as n_user_months,
            count(*) as n_users,
            sum(sum_probability) / sum(n_user_months) as mean_probability,
            cast(sum(n_right) as double) / sum(n_user_months) as accuracy,
            {{ effective_sample_size("n_user_months") }} as n_effective
        from of_users
        group by method, probability_bin
    )
select
    method,
    probability_bin,
    n_user_months,
    n_users,
    mean_probability,
    accuracy,
    {{ wilson_limits("accuracy", "n_effective", "accuracy") }},
    {{ is_suppressed_count("n_users", "method", "probability_bin") }} as is_suppressed
from counted
