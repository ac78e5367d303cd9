-- Raw registrations of children with their validation result, one row per raw row: valid, rejected (with a reason) or
-- duplicate.
{{ config(meta={"always_built": true, "check": "check_children"}) }}
-- depends_on: {{ ref("rejection_reasons") }}
{% set known = existing(this) %}
{% set was_registered = "((reason is null and not is_duplicate) or reason = 'left_source')" %}
with
    typed as (
        select
            {{ user_id_of("raw_children.user_id") }} as user_id,
            {{ whole_number_of("raw_children.child_no") }} as registered_child_no,
            {{ day("raw_children.birth_date") }} as birth_date,
            {{ moment("raw_children.registered_at") }} as registered_at,
            cast(raw_children.birth_date as string) as raw_birth_date,
            raw_children.user_id as raw_user_id,
            raw_children.child_no as raw_child_no,
            raw_children.registered_at as raw_registered_at
        from ({{ source_rows("children") }}) as raw_children
    ),
    -- A registration of unknown time is validated as of this run.
    dated as (
        select
            *,
            cast(coalesce(registered_at, {{ clock() }}) as date) as known_on,
            {{
                readings(
                    {
                        "user_id": ["raw_user_id", none],
                        "child_no": ["raw_child_no", "registered_child_no"],
                        "registered_at": ["raw_registered_at", "registered_at"],
                        "birth_date": ["raw_birth_date", "birth_date"],
                    }
                )
            }} as readings
        from typed
    ),
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
    -- A child is known by its number. Registrations without one, less than 270 days apart by birth or from the newest
    -- one with a number, are the same child.
    numbered as (
        select
            *,
            reason is null
            and (
                registered_child_no is null
                or row_number() over (
                    partition by user_id, registered_child_no, reason is null
                    order by case when registered_at is null then 1 else 0 end, registered_at desc, birth_date desc
                )
                = 1
            ) as is_counted
        from validated
    ),
    spaced as (
        select
            *,
            max(case when is_counted then birth_date end) over (
                partition by user_id
                order by birth_date, registered_child_no nulls last
                rows between unbounded preceding and 1 preceding
            ) as birth_before
        from numbered
    ),
    births as (
        select
            *,
            sum(case when {{ days_between("birth_date", "birth_before") }} < 270 then 0 else 1 end) over (
                partition by user_id
                order by birth_date, registered_child_no nulls last
                rows between unbounded preceding and current row
            ) as birth_no
        from spaced
    ),
    identified as (
        select
            *,
            -- Among twins with numbers a registration without one repeats a child, it does not correct it.
            case
                when registered_child_no is not null
                then 1
                when count(number) over of_birth > 1
                then 3
                when birth_date > known_on
                then 2
                else 1
            end as precedence,
            coalesce(registered_child_no, min(number) over of_birth) as child_no
        from (select *, case when is_counted then registered_child_no end as number from births) as births
        window of_birth as (partition by user_id, birth_no)
    ),
    -- The newest registration of a child is valid; a birth replaces a due date.
    ranked as (
        select
            *,
            first_value(birth_date) over newest_first as newest_birth_date,
            row_number() over newest_first as rank,
            min(registered_at) over (
                partition by
                    user_id, coalesce(child_no, -1), case when child_no is null then birth_no end, reason is null
            ) as first_registered_at
        from identified
        window
            newest_first as (
                partition by
                    user_id, coalesce(child_no, -1), case when child_no is null then birth_no end, reason is null
                order by
                    precedence,
                    case when registered_at is null then 1 else 0 end,
                    registered_at desc,
                    birth_date desc,
                    registered_child_no nulls last
            )
    ),
    {% if known %}
        -- Registrations that left the source. Of a user who has none left, a row without personal data stays for 30
        -- days.
        left_rows as (
            select known.left_on
            from {{ known }} as known
            left join (select distinct user_id from validated) as users on known.user_id = users.user_id
            where users.user_id is null and {{ was_registered }}
        ),
        losses as ({{ losses(known ~ " where " ~ was_registered, "left_rows") }}),
    {% endif %}
    -- Three and more children with numbers, born less than 270 days apart, are no family.
    too_close as (
        select user_id
        from
            (
                select
                    user_id,
                    {{ days_between("birth_date", "lag(birth_date) over (partition by user_id order by birth_date)") }}
                    as days
                from ranked
                where reason is null and rank = 1
            ) as gaps
        where days between 2 and 269
        group by user_id
        having count(*) > 1
    ),
    users as (
        select ranked.user_id, {{ exclusion_reason("ranked.user_id", "consents.user_id") }} as reason
        from (select distinct user_id from ranked) as ranked
        left join {{ ref("stg_consents") }} as consents on ranked.user_id = consents.user_id
    ),
    excluded as (select user_id, reason from users where reason is not null)
-- Rows of erased users and users without consent keep only the reason.
select
    {% for column in ["user_id", "birth_date", "raw_birth_date", "registered_at", "first_registered_at"] %}
        case when excluded.reason is null then ranked.{{ column }} end as {{ column }},
    {% endfor %}
    case when excluded.reason is null then ranked.child_no end as registered_child_no,
    case when excluded.reason is null then ranked.readings end as readings,
    coalesce(
        case when ranked.user_id is not null then excluded.reason end,
        ranked.reason,
        case
            when too_close.user_id is not null
            then 'children_too_close'
            when ranked.rank > 1 and ranked.birth_date <> ranked.newest_birth_date
            then 'superseded'
        end
    ) as reason,
    excluded.reason is null
    and ranked.reason is null
    and too_close.user_id is null
    and ranked.rank > 1
    and ranked.birth_date = ranked.newest_birth_date as is_duplicate,
    cast(null as date) as left_on
from ranked
left join excluded on ranked.user_id is not distinct from excluded.user_id
left join too_close on ranked.user_id = too_close.user_id
{% if known %}
    union all
    select
        {% for column in ["user_id", "birth_date", "raw_birth_date", "registered_at", "first_registered_at"] %}
            null as {{ column }},
        {% endfor %}
        null as registered_child_no,
        null as readings,
        'left_source' as reason,
        false as is_duplicate,
        {{ left_on("children", "left_rows") }} as left_on
    from left_rows
    cross join losses
    where {{ left_on("children", "left_rows") }} >= {{ window_of_losses() }}
{% endif %}
