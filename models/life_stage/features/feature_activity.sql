-- How much the user did, by kind of action: expecting families search, those with small children buy again and again.
select user_id, month, concat('n_actions=', action) as feature, ln(1 + count(*)) as value
from {{ ref("stg_actions") }}
group by user_id, month, action
