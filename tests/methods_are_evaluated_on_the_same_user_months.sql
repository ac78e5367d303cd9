-- Fair comparison: in every period and cohort each method is evaluated on the same number of user-months.
select period, cohort, min(n_user_months) as fewest, max(n_user_months) as most
from {{ ref("stage_accuracy") }}
group by period, cohort
having
    min(n_user_months) <> max(n_user_months)
    or count(*) <> (select count(distinct method) from {{ ref("stage_accuracy") }})
