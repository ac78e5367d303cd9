-- Rejected actions, one row per rejected row and rejection reason.
{{ config(materialized="view") }}
with
    indexed_features as (
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
    indexed_features.month,
    indexed_features.rejected_row,
    reasons.reason,
    indexed_features.action_id,
    indexed_features.user_id,
    indexed_features.raw_occurred_at,
    indexed_features.raw_action,
    indexed_features.item_id,
    indexed_features.search_term,
    indexed_features.raw_quantity,
    indexed_features.source_file
from indexed_features
inner join
    {{ ref("rejection_reasons") }} as reasons
    on concat(' ', indexed_features.reasons, ' ') like concat('% ', reasons.reason, ' %')
where reasons.table_name = 'actions'
