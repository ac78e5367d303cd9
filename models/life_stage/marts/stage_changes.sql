-- Stage transitions of the newest run that logged any, for CRM, one row per user and child: the end of stage_events.
{{ config(materialized="view") }}
select
    events.user_id,
    events.child_no,
    events.month,
    events.change,
    events.previous_stage,
    events.stage,
    events.stage_no,
    events.probability,
    events.source,
    events.reason
from {{ ref("stage_events") }} as events
inner join
    (
        select run_id, month
        from {{ ref("stage_events") }}
        where event_no = (select max(event_no) from {{ ref("stage_events") }})
    ) as newest
    on events.run_id = newest.run_id
    and events.month = newest.month
