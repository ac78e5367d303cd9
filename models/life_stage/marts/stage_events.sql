-- Log of stage changes, one row per event: a child enters, changes or leaves its stage. The first run logs all months.
-- Each later run appends the difference between the log and user_stages, so that replaying the log gives user_stages.
-- Numbers begin with the second of the run: those of erased events are never used again.
{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        full_refresh=false,
        meta={"grows": true},
    )
}}
with
    history as (select * from {{ ref("user_stage_months") }}),
    newest as (select max(month) as month from history),
    in_stage as (select * from history where is_in_stage),
    {% if is_incremental() and has_rows(this) %}
        last_events as (
            select user_id, child_no, stage
            from
                (
                    select *, row_number() over (partition by user_id, child_no order by event_no desc) as rank
                    from {{ this }}
                ) as events
            where rank = 1
        ),
        logged as (select max(event_no) as event_no, max(month) as month from {{ this }}),
        compared as (
            select
                coalesce(now.user_id, before.user_id) as user_id,
                coalesce(now.child_no, before.child_no) as child_no,
                newest.month,
                before.stage as previous_stage,
                now.stage,
                now.stage_no,
                now.probability,
                now.source
            from (select * from in_stage where month = (select month from newest)) as now
            full outer join last_events as before on now.user_id = before.user_id and now.child_no = before.child_no
            cross join newest
        ),
    {% else %}
        logged as (select cast(null as bigint) as event_no, date '1970-01-01' as month),
        compared as (
            select
                coalesce(now.user_id, before.user_id) as user_id,
                coalesce(now.child_no, before.child_no) as child_no,
                coalesce(now.month, {{ months_after("before.month", 1) }}) as month,
                before.stage as previous_stage,
                now.stage,
                now.stage_no,
                now.probability,
                now.source
            from in_stage as now
            full outer join
                in_stage as before
                on now.user_id = before.user_id
                and now.child_no = before.child_no
                and now.month = {{ months_after("before.month", 1) }}
        ),
    {% endif %}
    changes as (
        select compared.*
        from compared
        inner join newest on compared.month <= newest.month
        where coalesce(compared.stage, '') <> coalesce(compared.previous_stage, '')
    )
select
    greatest(coalesce(logged.event_no, 0), {{ (run_started_at.timestamp() | int) * 1000000 }})
    + row_number() over (order by changes.month, changes.user_id, changes.child_no) as event_no,
    '{{ invocation_id }}' as run_id,
    {{ clock() }} as logged_at,
    changes.month,
    changes.user_id,
    changes.child_no,
    case
        when changes.previous_stage is null then 'entered' when changes.stage is null then 'left' else 'moved'
    end as change,
    changes.previous_stage,
    changes.stage,
    changes.stage_no,
    changes.probability,
    coalesce(changes.source, before.source) as source,
    case
        -- The birth is due and not confirmed: the child is in no stage until it is.
        when
            changes.stage is null
            and changes.previous_stage in ({{ quoted(prenatal_stages()) }})
            and history.stage not in ({{ quoted(prenatal_stages()) }})
            and not history.birth_confirmed
        then 'birth_unconfirmed'
        when changes.source <> 'inferred' and coalesce(before.source, 'inferred') = 'inferred'
        then 'registration'
        when changes.month > coalesce(logged.month, date '1970-01-01')
        then 'month'
        else 'correction'
    end as reason
from changes
cross join logged
left join
    history
    on changes.user_id = history.user_id
    and changes.child_no = history.child_no
    and changes.month = history.month
left join
    history as before
    on changes.user_id = before.user_id
    and changes.child_no = before.child_no
    and changes.month = {{ months_after("before.month", 1) }}
