-- Each closed month believes of all users of the month before and of those that are new.
with
    months_believed as (
        select month, count(*) as n_users, count(case when first_month = month then 1 end) as n_new_users
        from {{ ref("stage_beliefs") }}
        group by month
    ),
    closed_months as (
        select
            ledger.month,
            coalesce(believed.n_users, 0) as n_users,
            coalesce(believed.n_new_users, 0) as n_new_users,
            lag(coalesce(believed.n_users, 0), 1, 0) over (order by ledger.month) as n_users_before
        from {{ ref("month_ledger") }} as ledger
        inner join {{ ref("month_models") }} as models on ledger.month = models.month
        left join months_believed as believed on ledger.month = believed.month
        where ledger.is_closed
    )
select month, n_users_before, n_new_users, n_users
from closed_months
where n_users <> n_users_before + n_new_users
