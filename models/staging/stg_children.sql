-- Registered children with a plausible birth date, one row per user and child: the labels.
{{ config(materialized="view") }}
select
    user_id,
    -- Registered numbers stay; children without one get the next numbers, by birth date.
    coalesce(
        registered_child_no,
        coalesce(max(registered_child_no) over (partition by user_id), 0)
        + row_number() over (partition by user_id, registered_child_no is null order by birth_date)
    ) as child_no,
    birth_date,
    registered_at,
    time_is_unknown
from {{ ref("stg_child_rows") }}
where reason is null and not is_duplicate
