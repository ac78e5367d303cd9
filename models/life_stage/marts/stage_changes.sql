-- Stage transitions in the newest closed month, for CRM, one row per user and child.
with
    months as (
        select max(month) as this_month, {{ months_after("max(month)", -1) }} as last_month
        from {{ ref("user_stage_months") }}
    ),
    before as (
        select history.*
        from {{ ref("user_stage_months") }} as history
        inner join months on history.month = months.last_month
        where history.is_in_stage
    )
select
    coalesce(now.user_id, before.user_id) as user_id,
    coalesce(now.child_no, before.child_no) as child_no,
    months.this_month as month,
    case when before.stage is null then 'entered' when now.stage is null then 'left' else 'moved' end as change,
    before.stage as previous_stage,
    now.stage,
    now.probability
from {{ ref("user_stages") }} as now
full outer join before on now.user_id = before.user_id and now.child_no = before.child_no
cross join months
where coalesce(now.stage, '') <> coalesce(before.stage, '')
