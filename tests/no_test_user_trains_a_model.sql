-- Nobody whom the methods are judged on is among those the models learn from.
select distinct predictions.user_id
from {{ ref("stage_predictions") }} as predictions
inner join
    (select distinct user_id from {{ ref("training_rows") }}) as training on predictions.user_id = training.user_id
