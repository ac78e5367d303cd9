-- The rows that were set aside, each with every reason it was set aside for.
{{ config(materialized="view") }}
with
    numbered as (
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
    numbered.month,
    numbered.rejected_row,
    reasons.reason,
    numbered.action_id,
    numbered.user_id,
    numbered.raw_occurred_at,
    numbered.raw_action,
    numbered.item_id,
    numbered.search_term,
    numbered.raw_quantity,
    numbered.source_file
from numbered
inner join
    {{ ref("rejection_reasons") }} as reasons
    on concat(' ', numbered.reasons, ' ') like concat('% ', reasons.reason, ' %')
where reasons.table_name = 'actions'
