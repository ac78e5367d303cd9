-- The features of the months that models learn from, and those of the same month a year before under a name of their
-- own.
{{ config(materialized="view") }}
select learning.row_no, learning.split, features.feature, features.n_days, features.value
from {{ ref("learning_rows") }} as learning
inner join
    {{ ref("user_month_features") }} as features
    on learning.user_id = features.user_id
    and learning.month = features.month
union all
select learning.row_no, learning.split, concat('last_year:', features.feature), features.n_days, features.value
from {{ ref("learning_rows") }} as learning
inner join
    {{ ref("user_month_features") }} as features
    on learning.user_id = features.user_id
    and learning.month = {{ months_after("features.month", 12) }}
