-- A comparison is fair: in every month each method answers for the same number of users.
select month, min(n_user_months) as fewest, max(n_user_months) as most
from {{ ref("stage_accuracy") }}
group by month
having
    min(n_user_months) <> max(n_user_months)
    or count(*) <> (select count(distinct method) from {{ ref("stage_accuracy") }})
