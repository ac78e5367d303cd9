-- Updates of the filter: the number of updates grows by one for each active user, and for no other user.
with
    months_updated as (
        select
            month,
            sum(months_of_evidence) as n_months_of_evidence,
            count(case when last_active_month = month then 1 end) as n_active_users,
            min(months_of_evidence) as fewest_months_of_evidence
        from {{ ref("birth_month_filter") }}
        group by month
    ),
    months_compared as (
        select *, lag(n_months_of_evidence, 1, 0) over (order by month) as n_months_of_evidence_before
        from months_updated
    )
select month, n_months_of_evidence_before, n_active_users, n_months_of_evidence
from months_compared
where n_months_of_evidence <> n_months_of_evidence_before + n_active_users or fewest_months_of_evidence < 1
