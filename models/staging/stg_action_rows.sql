-- Raw actions with their validation result, one row per raw row: valid, rejected (with reasons) or duplicate.
-- Validation comes first; of valid rows with the same action_id, user, action and item in this month and the two before
-- it the earliest counts. months_to_stage gives the values of __source_rows__, the rows of the files that hold the
-- month, __home_files__, those without a usable time, __months_before__ and __history_from__, the first month.
{{
    config(
        materialized="monthly",
        full_refresh=false,
        meta={"months": "months_to_stage", "keep": "actions", "check": "check_conflicts"},
    )
}}
-- depends_on: {{ ref("source_file_months") }} {{ ref("stg_consents") }} {% do source_table("actions") %}
{% set facts = action_contents() + ["session_id", "device", "dwell_seconds", "price"] %}
{% set numbers = ["quantity", "dwell_seconds", "price"] %}
{% set columns = contract_columns("actions") | map(attribute="name") if execute else [] %}
with
    dated as (
        select {{ columns | join(", ") }}, source_file, {{ moment("occurred_at") }} as utc_time
        from (__source_rows__) as source_rows
    ),
    -- Rows of other months are left out before anything else is parsed: a file may hold many months.
    month_rows as (
        select *
        from dated
        where
            case
                when
                    utc_time >= timestamp '2000-01-01'
                    and {{ month_of(business_time("utc_time")) }}
                    between __history_from__ and {{ month_of(business_time(clock())) }}
                then {{ month_of(business_time("utc_time")) }} = {{ this_month() }}
                else source_file in (__home_files__)
            end
    ),
    typed as (
        select {{ typed_action_columns(user_id_of("raw_actions.user_id")) }}
        from month_rows as raw_actions
        left join {{ ref("action_synonyms") }} as synonyms on {{ is_action_word() }}
    ),
    validated as (select *, {{ action_rejection_reasons("__history_from__") }} as reasons from typed),
    valid as (select {{ facts | join(", ") }}, source_file, false as is_before from validated where reasons is null),
    before as (
        select
            {% for fact in facts %}
                {{ "cast(" ~ fact ~ " as double) as " ~ fact if fact in numbers else fact }},
            {% endfor %}
            source_file,
            true as is_before
        from (__months_before__) as months_before
    ),
    shared_ids as (
        select action_id
        from valid
        group by action_id
        having count(*) > 1
        union
        select before.action_id
        from before
        inner join valid on before.action_id = valid.action_id
    ),
    sharing_rows as (
        select rows_of_both.*, case when action = 'search' then search_term else item_id end as object
        from
            (
                select *
                from valid
                union all
                select *
                from before
            ) as rows_of_both
        inner join shared_ids on rows_of_both.action_id = shared_ids.action_id
    ),
    ranked as (
        select
            *,
            row_number() over (
                partition by action_id, user_id, action, object
                order by
                    case when is_before then 0 else 1 end,
                    occurred_at,
                    quantity nulls last,
                    session_id nulls last,
                    device nulls last,
                    dwell_seconds nulls last,
                    price nulls last,
                    source_file
            )
            > 1 as is_duplicate,
            min(contents) over (partition by action_id) <> max(contents) over (partition by action_id) as is_conflicting
        from
            (
                select
                    *,
                    {{ id_of_text("concat_ws('|', user_id, action, object, cast(occurred_at as string))") }} as contents
                from sharing_rows
            ) as hashed
    ),
    all_rows as (
        select
            {% for fact in facts %} validated.{{ fact }}, {% endfor %}
            validated.source_file,
            validated.reasons,
            validated.raw_occurred_at,
            validated.raw_action,
            validated.raw_quantity,
            false as is_duplicate,
            false as is_conflicting
        from validated
        left join shared_ids on validated.action_id = shared_ids.action_id
        where validated.reasons is not null or shared_ids.action_id is null
        union all
        select
            {% for fact in facts %} {{ fact }}, {% endfor %}
            source_file,
            cast(null as string) as reasons,
            cast(null as string) as raw_occurred_at,
            cast(null as string) as raw_action,
            cast(null as string) as raw_quantity,
            is_duplicate,
            is_conflicting
        from ranked
        where not is_before
    ),
    staged as (
        select
            action_id,
            user_id,
            occurred_at,
            cast({{ business_time("occurred_at") }} as date) as acted_on,
            action,
            case when action <> 'search' then item_id end as item_id,
            case when action = 'search' then search_term end as search_term,
            case when action = 'purchase' then quantity end as quantity,
            session_id,
            device,
            dwell_seconds,
            price,
            source_file,
            is_duplicate,
            is_conflicting,
            reasons,
            case when reasons is not null then raw_occurred_at end as raw_occurred_at,
            case when reasons is not null then raw_action end as raw_action,
            case when reasons is not null then raw_quantity end as raw_quantity
        from all_rows
    ),
    -- Exclusion comes last, so that the choice among duplicates does not depend on erasures.
    users as (
        select staged.user_id, {{ exclusion_reason("staged.user_id", "consents.user_id") }} as reason
        from (select distinct user_id from staged) as staged
        left join {{ ref("stg_consents") }} as consents on staged.user_id = consents.user_id
    ),
    excluded as (select user_id, reason from users where reason is not null)
select
    {{ this_month() }} as month,
    {% for column in action_facts() %}
        case when excluded.reason is null then staged.{{ column }} end as {{ column }},
    {% endfor %}
    staged.source_file,
    excluded.reason is null and staged.is_duplicate as is_duplicate,
    excluded.reason is null and staged.is_conflicting as is_conflicting,
    -- A row without a user keeps its own reason: consent needs a user.
    coalesce(case when staged.user_id is not null then excluded.reason end, staged.reasons) as reasons
from staged
left join excluded on staged.user_id is not distinct from excluded.user_id
