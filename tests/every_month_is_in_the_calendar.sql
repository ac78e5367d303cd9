-- Completeness of the month calendar: it is gap-free and holds every month with valid actions.
with
    span as (
        select min(month) as first_month, max(month) as last_month, count(*) as n_months
        from {{ ref("month_calendar") }}
    )
select 'gap in the calendar' as problem, first_month as month
from span
where n_months <> {{ months_between("last_month", "first_month") }} + 1
union all
select 'month with actions is not in the calendar' as problem, delivered.month
from {{ ref("action_months") }} as delivered
left join {{ ref("month_calendar") }} as calendar on delivered.month = calendar.month
where delivered.content_hash <> 'none' and calendar.month is null
