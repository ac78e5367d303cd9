-- No row of the source gets lost: the rows delivered of a month are clean, set aside or repeated.
with
    rows_delivered as (
        select month, sum(n_rows) as n_rows
        from {{ ref("source_file_months") }}
        where is_present and month >= date '{{ retained_from("keep_actions_months") }}'
        group by month
    )
select rows_delivered.month, rows_delivered.n_rows, evaluated.n_actions, evaluated.n_rejected, evaluated.n_duplicates
from rows_delivered
left join {{ ref("action_months") }} as evaluated on rows_delivered.month = evaluated.month
left join {{ ref("month_calendar") }} as calendar on rows_delivered.month = calendar.month
where
    evaluated.month is null
    or (evaluated.n_rows <> rows_delivered.n_rows and coalesce(calendar.status, 'present') <> 'absent')
    or evaluated.n_rows <> evaluated.n_actions + evaluated.n_rejected + evaluated.n_duplicates
