-- The ledger is a calendar without holes, and no month with clean actions lies outside it.
with
    span as (
        select min(month) as first_month, max(month) as last_month, count(*) as n_months from {{ ref("month_ledger") }}
    )
select 'hole in the calendar' as problem, first_month as month
from span
where n_months <> {{ months_between("last_month", "first_month") }} + 1
union all
select 'month with actions is not in the ledger' as problem, delivered.month
from {{ ref("action_months") }} as delivered
left join {{ ref("month_ledger") }} as ledger on delivered.month = ledger.month
where delivered.contents <> 'none' and ledger.month is null
