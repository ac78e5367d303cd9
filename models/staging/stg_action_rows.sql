-- Raw actions with their validation result, one row per raw row: valid, rejected (with reasons) or duplicate.
-- Validation comes first; valid rows are then deduplicated by action_id within the month. months_to_stage gives the
-- values of __source_rows__, the rows of the files that hold the month, and __home_files__, those without a usable
-- time.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "months_to_stage", "keep": "actions"}) }}
-- depends_on: {{ ref("source_file_months") }} {{ ref("stg_consents") }} {% do source("shop", "actions") %}
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
                    and {{ month_of(business_time("utc_time")) }} <= {{ month_of(business_time(clock())) }}
                then {{ month_of(business_time("utc_time")) }} = {{ this_month() }}
                else source_file in (__home_files__)
            end
    ),
    typed as (
        select {{ typed_action_columns(user_id_of("raw_actions.user_id")) }}
        from month_rows as raw_actions
        left join {{ ref("action_synonyms") }} as synonyms on lower(trim(raw_actions.action)) = synonyms.word
    ),
    validated as (select *, {{ action_rejection_reasons() }} as reasons from typed),
    duplicate_ids as (select action_id from validated where reasons is null group by action_id having count(*) > 1),
    ranked_duplicates as (
        select
            validated.*,
            row_number() over (
                partition by validated.action_id
                order by
                    validated.occurred_at,
                    validated.user_id,
                    validated.action,
                    validated.item_id nulls last,
                    validated.search_term nulls last,
                    validated.quantity nulls last,
                    validated.session_id nulls last,
                    validated.device nulls last,
                    validated.dwell_seconds nulls last,
                    validated.source_file
            )
            > 1 as is_duplicate
        from validated
        inner join duplicate_ids on validated.action_id = duplicate_ids.action_id
        where validated.reasons is null
    ),
    all_rows as (
        select validated.*, false as is_duplicate
        from validated
        left join duplicate_ids on validated.action_id = duplicate_ids.action_id
        where validated.reasons is not null or duplicate_ids.action_id is null
        union all
        select *
        from ranked_duplicates
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
            source_file,
            is_duplicate,
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
    -- A row without a user keeps its own reason: consent needs a user.
    coalesce(case when staged.user_id is not null then excluded.reason end, staged.reasons) as reasons
from staged
left join excluded on staged.user_id is not distinct from excluded.user_id
