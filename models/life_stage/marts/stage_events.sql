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
{% set is_logged = is_incremental() and has_rows(this) %}
with
    newest as (select max(month) as month from {{ ref("user_stage_months") }}),
    history as (
        select *
        from {{ ref("user_stage_months") }}
        {% if is_logged %} where month >= (select {{ months_after("month", -1) }} from newest) {% endif %}
    ),
    in_stage as (select * from history where is_in_stage),
    {% if is_logged %}
        logged as (select max(event_no) as event_no, max(month) as month from {{ this }}),
        now as (select in_stage.* from in_stage inner join newest on in_stage.month = newest.month),
        before as (
            select events.user_id, events.child_no, newest.month, events.stage
            from
                (
                    select *, row_number() over (partition by user_id, child_no order by event_no desc) as rank
                    from {{ this }}
                ) as events
            cross join newest
            where events.rank = 1
        ),
    {% else %}
        logged as (select cast(null as bigint) as event_no, date '1970-01-01' as month),
        now as (select * from in_stage),
        before as (select user_id, child_no, {{ months_after("month", 1) }} as month, stage from in_stage),
    {% endif %}
    changes as (
        select
            coalesce(now.user_id, before.user_id) as user_id,
            coalesce(now.child_no, before.child_no) as child_no,
            coalesce(now.month, before.month) as month,
            before.stage as previous_stage,
            now.stage,
            now.stage_no,
            now.probability,
            now.source
        from now
        full outer join
            before on now.user_id = before.user_id and now.child_no = before.child_no and now.month = before.month
        inner join newest on coalesce(now.month, before.month) <= newest.month
        where coalesce(now.stage, '') <> coalesce(before.stage, '')
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
    coalesce(changes.source, month_before.source) as source,
    case
        -- The birth is due and not confirmed: the child is in no stage until it is.
        when
            changes.stage is null
            and changes.previous_stage in ({{ quoted(prenatal_stages()) }})
            and history.stage not in ({{ quoted(prenatal_stages()) }})
            and not history.birth_confirmed
        then 'birth_unconfirmed'
        when changes.source <> 'inferred' and coalesce(month_before.source, 'inferred') = 'inferred'
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
    history as month_before
    on changes.user_id = month_before.user_id
    and changes.child_no = month_before.child_no
    and changes.month = {{ months_after("month_before.month", 1) }}
