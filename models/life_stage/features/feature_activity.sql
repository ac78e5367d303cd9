-- Activity features: ln(1 + actions), one row per user, month and kind of action. Expecting families search; families
-- with small children repeat purchases.
select user_id, month, concat('n_actions=', action) as feature, ln(1 + count(*)) as value
from {{ ref("stg_actions") }}
group by user_id, month, action
