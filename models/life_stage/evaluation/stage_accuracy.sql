-- How often each method is right about the test users, month by month, and how sure it was of the truth.
select
    method,
    month,
    count(*) as n_user_months,
    avg(case when predicted_stage = true_stage then 1.0 else 0.0 end) as accuracy,
    avg(- ln(greatest(true_stage_probability, 1e-12))) as log_loss
from {{ ref("stage_predictions") }}
group by method, month
