-- Rejected children and items with the rejection reason, one row per rejected row.
{{ config(materialized="view") }}
with
    rejected as (
        select 'children' as table_name, user_id as id, raw_birth_date as detail, reason
        from {{ ref("stg_child_rows") }}
        where reason is not null
        union all
        select 'items' as table_name, item_id as id, title as detail, reason
        from {{ ref("stg_item_rows") }}
        where reason is not null
    )
select
    table_name,
    row_number() over (partition by table_name order by id nulls last, detail nulls last, reason) as rejected_row,
    reason,
    id,
    detail
from rejected
