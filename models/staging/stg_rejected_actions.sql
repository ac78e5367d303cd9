-- Rejected actions, one row per rejected row and rejection reason.
{{ config(materialized="view") }}
with
    rejected_rows as (
        select
            *,
            row_number() over (
                partition by month
                order by
                    source_file,
                    action_id nulls last,
                    user_id nulls last,
                    raw_occurred_at nulls last,
                    raw_action nulls last,
                    item_id nulls last,
                    search_term nulls last,
                    raw_quantity nulls last
            ) as rejected_row
        from {{ ref("stg_action_rows") }}
        where reasons is not null
    )
select
    rejected_rows.month,
    rejected_rows.rejected_row,
    reasons.reason,
    rejected_rows.action_id,
    rejected_rows.user_id,
    rejected_rows.raw_occurred_at,
    rejected_rows.raw_action,
    rejected_rows.item_id,
    rejected_rows.search_term,
    rejected_rows.raw_quantity,
    rejected_rows.source_file
from rejected_rows
inner join
    {{ ref("rejection_reasons") }} as reasons
    on concat(' ', rejected_rows.reasons, ' ') like concat('% ', reasons.reason, ' %')
where reasons.table_name = 'actions'
