-- Stage of each child in the newest closed month, one row per user and child, with the first month of the stage.
-- Excludes children outside all stages, unconfirmed births, and users with fewer than min_evidence active months.
with
    stage_history as (
        select user_id, child_no, month, case when is_in_stage then stage else '' end as stage
        from {{ ref("user_stage_months") }}
    ),
    -- A stage begins if the month before has another stage, or no row of the child.
    stage_starts as (
        select
            *,
            case
                when
                    lag(stage) over (partition by user_id, child_no order by month) = stage
                    and lag(month) over (partition by user_id, child_no order by month)
                    = {{ months_after("month", -1) }}
                then null
                else month
            end as began_in
        from stage_history
    ),
    newest as (
        select user_id, child_no, max(began_in) as since_month, max(month) as month
        from stage_starts
        group by user_id, child_no
    )
select history.*, newest.since_month
from {{ ref("user_stage_months") }} as history
inner join
    newest on history.user_id = newest.user_id and history.child_no = newest.child_no and history.month = newest.month
where history.is_in_stage and history.month = (select max(month) from {{ ref("user_stage_months") }})
