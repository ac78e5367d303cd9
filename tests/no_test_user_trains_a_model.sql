-- Nobody whom the methods are judged on is among those the models learn from.
select distinct predictions.user_id
from {{ ref("stage_predictions") }} as predictions
inner join
    (select distinct user_id from {{ ref("training_rows") }} where split <> 'test') as learning
    on predictions.user_id = learning.user_id
