-- Completeness of staging: every source row of a month is valid, rejected or a duplicate.
with
    rows_delivered as (
        select month, sum(n_rows) as n_rows
        from {{ ref("source_file_months") }}
        where is_present and month >= date '{{ retained_from("actions") }}'
        group by month
    )
select rows_delivered.month, rows_delivered.n_rows, staged.n_actions, staged.n_rejected, staged.n_duplicates
from rows_delivered
left join {{ ref("action_months") }} as staged on rows_delivered.month = staged.month
left join {{ ref("month_calendar") }} as calendar on rows_delivered.month = calendar.month
where
    staged.month is null
    or (staged.n_rows <> rows_delivered.n_rows and coalesce(calendar.status, 'present') <> 'absent')
    or staged.n_rows <> staged.n_actions + staged.n_rejected + staged.n_duplicates
