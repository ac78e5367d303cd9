-- What each method took each stage for, over all months of the window.
select
    method,
    true_stage,
    predicted_stage,
    count(*) as n_user_months,
    count(*) * 1.0 / sum(count(*)) over (partition by method, true_stage) as share
from {{ ref("stage_predictions") }}
group by method, true_stage, predicted_stage
