-- Activity: the logarithm of the number of actions per user, month and action type.
select user_id, month, concat('n_actions=', action) as feature, ln(1 + count(*)) as value
from {{ ref("stg_actions") }}
group by user_id, month, action
