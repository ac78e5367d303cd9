-- Reliability diagram of each method, one row per method and probability bin.
with
    counted as (
        select
            method,
            {{ probability_bin("predicted_stage_probability") }} as probability_bin,
            count(*) as n_user_months,
            count(distinct user_id) as n_users,
            sum({{ exact("predicted_stage_probability") }}) / count(*) as mean_probability,
            avg(cast(is_right as integer)) as accuracy
        from {{ ref("stage_predictions") }}
        group by method, {{ probability_bin("predicted_stage_probability") }}
    )
select *, {{ is_suppressed_count("n_users", "method", "probability_bin") }} as is_suppressed
from counted
