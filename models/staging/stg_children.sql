-- Registered children with a plausible birth date, one row per child: the labels.
{{ config(materialized="view") }}
select
    user_id,
    -- A registered number is kept; children without one take the numbers after it, by birth date.
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
