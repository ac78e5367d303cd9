-- No row of the source gets lost: the rows delivered of a month are clean, set aside or repeated.
with
    rows_delivered as (
        select month, sum(n_rows) as n_rows
        from {{ ref("source_file_months") }}
        where is_present and month >= date '{{ kept_from("keep_actions_months") }}'
        group by month
    )
select rows_delivered.month, rows_delivered.n_rows, judged.n_actions, judged.n_rejected, judged.n_duplicates
from rows_delivered
left join {{ ref("action_months") }} as judged on rows_delivered.month = judged.month
left join {{ ref("month_ledger") }} as ledger on rows_delivered.month = ledger.month
where
    judged.month is null
    or (judged.n_rows <> rows_delivered.n_rows and coalesce(ledger.status, 'present') <> 'retired')
    or judged.n_rows <> judged.n_actions + judged.n_rejected + judged.n_duplicates
