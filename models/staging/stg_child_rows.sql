-- Raw registrations of children with their validation result, one row per raw row: valid, rejected (with a reason) or
-- duplicate.
with
    typed as (
        select
            {{ user_id_of("raw_children.user_id") }} as user_id,
            try_cast(raw_children.child_no as integer) as registered_child_no,
            {{ day("raw_children.birth_date") }} as birth_date,
            {{ moment("raw_children.registered_at") }} as registered_at,
            cast(raw_children.birth_date as string) as raw_birth_date
        from ({{ source_rows("children") }}) as raw_children
    ),
    -- A registration of unknown time is validated as of this run.
    dated as (select *, cast(coalesce(registered_at, {{ clock() }}) as date) as known_on from typed),
    validated as (
        select
            *,
            case
                when user_id is null
                then 'user_missing'
                when birth_date is null
                then 'birth_date_unreadable'
                when birth_date > {{ months_after("known_on", 10) }}
                then 'birth_too_far_ahead'
                when birth_date < {{ months_after("known_on", -240) }}
                then 'birth_too_long_ago'
            end as reason
        from dated
    ),
    -- The newest registration of a child is valid. A child without a number is identified by its birth date, also
    -- against children with a number.
    ranked as (
        select
            *,
            first_value(birth_date) over newest_first as newest_birth_date,
            row_number() over newest_first as rank,
            registered_child_no is null
            and max(case when reason is null then registered_child_no end) over (partition by user_id, birth_date)
            is not null as repeats_a_numbered_child
        from validated
        window
            newest_first as (
                partition by
                    user_id,
                    coalesce(registered_child_no, -1),
                    case when registered_child_no is null then birth_date end,
                    reason is null
                order by case when registered_at is null then 1 else 0 end, registered_at desc, birth_date desc
            )
    ),
    delivered as (select count(*) as n_rows, count(reason) as n_rejected, max(reason) as a_reason from validated),
    users as (
        select ranked.user_id, {{ exclusion_reason("ranked.user_id", "consents.user_id") }} as reason
        from (select distinct user_id from ranked) as ranked
        left join {{ ref("stg_consents") }} as consents on ranked.user_id = consents.user_id
    ),
    excluded as (select user_id, reason from users where reason is not null)
-- Rows of erased users and users without consent keep only the reason.
select
    {% for column in ["user_id", "registered_child_no", "birth_date", "raw_birth_date", "registered_at"] %}
        case when excluded.reason is null then ranked.{{ column }} end as {{ column }},
    {% endfor %}
    {{
        fail_if_too_many_rejected(
            "coalesce(case when ranked.user_id is not null then excluded.reason end, ranked.reason, case when ranked.rank > 1 and ranked.birth_date <> ranked.newest_birth_date then 'superseded' end)",
            "'children'",
            "delivered.n_rejected",
            "delivered.n_rows",
            "delivered.a_reason",
        )
    }}
    as reason,
    excluded.reason is null
    and ranked.reason is null
    and (
        ranked.repeats_a_numbered_child or (ranked.rank > 1 and ranked.birth_date = ranked.newest_birth_date)
    ) as is_duplicate
from ranked
cross join delivered
left join excluded on ranked.user_id is not distinct from excluded.user_id
