-- Stage of each child in the newest closed month, one row per user and child. is_in_stage of user_stage_months excludes
-- improbable children, unconfirmed births, and users with fewer than marts_min_evidence active months.
select *
from {{ ref("user_stage_months") }}
where is_in_stage and month = (select max(month) from {{ ref("user_stage_months") }})
