-- No leakage of test users: no user of the evaluation is in the training or validation split.
select distinct predictions.user_id
from {{ ref("stage_predictions") }} as predictions
inner join
    (select distinct user_id from {{ ref("training_rows") }} where split <> 'test') as training
    on predictions.user_id = training.user_id
