-- Features that attributions are made of, one row per user, active month and feature. The feature with an empty name is
-- the intercept of being active.
{{ config(materialized="view") }}
select user_id, month, feature, value
from {{ ref("user_month_features") }}
union all
select user_id, month, '' as feature, 1 as value
from {{ ref("stage_log_likelihoods") }}
