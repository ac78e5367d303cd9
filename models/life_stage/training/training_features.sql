-- Training features, one row per training row and feature. Those of the same month a year before have the prefix
-- `last_year:`.
{{ config(materialized="view") }}
select training.row_no, training.split, features.feature, features.n_days, features.value
from {{ ref("training_rows") }} as training
inner join
    {{ ref("user_month_features") }} as features
    on training.user_id = features.user_id
    and training.month = features.month
union all
select training.row_no, training.split, concat('last_year:', features.feature), features.n_days, features.value
from {{ ref("training_rows") }} as training
inner join
    {{ ref("user_month_features") }} as features
    on training.user_id = features.user_id
    and training.month = {{ months_after("features.month", 12) }}
