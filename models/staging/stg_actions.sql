-- Valid, deduplicated actions, one row per month and action. All downstream models read this view.
{{ config(materialized="view") }}
select
    month,
    action_id,
    user_id,
    occurred_at,
    acted_on,
    action,
    item_id,
    search_term,
    quantity,
    session_id,
    device,
    dwell_seconds,
    price
from {{ ref("stg_action_rows") }}
where reasons is null and not is_duplicate
