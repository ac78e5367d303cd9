-- Registered children with a plausible birth date, one row per user and child: the labels.
{{ config(materialized="view") }}
select
    children.user_id,
    -- Registered numbers stay; children without one get the next numbers, by birth date.
    coalesce(
        children.registered_child_no,
        coalesce(max(children.registered_child_no) over (partition by children.user_id), 0) + row_number() over (
            partition by children.user_id, children.registered_child_no is null order by children.birth_date
        )
    ) as child_no,
    children.birth_date,
    children.registered_at,
    coalesce(
        {{ month_of(business_time("children.first_registered_at")) }}, sightings.first_seen_month
    ) as known_from_month
from {{ ref("stg_child_rows") }} as children
left join
    {{ ref("registration_sightings") }} as sightings
    on children.registered_at is null
    and children.user_id = sightings.user_id
    and coalesce(children.registered_child_no, 0) = sightings.registered_child_no
    and children.birth_date = sightings.birth_date
where children.reason is null and not children.is_duplicate
