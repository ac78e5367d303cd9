-- Every raw row of the actions, judged: clean, rejected with all its reasons, or a repetition of a clean one.
-- Rows are judged first; then the good ones are kept once per action_id within the month.
{{
    config(
        materialized="monthly", full_refresh=false, meta={"months": "months_to_stage", "keep": "keep_actions_months"}
    )
}}
-- depends_on: {{ ref("source_file_months") }} {{ ref("stg_consents") }} {% do source("shop", "actions") %}
with
    typed as ({{ typed_actions("__source_rows__") }}),
    of_this_month as (
        select *
        from typed
        where
            case
                when
                    occurred_at >= timestamp '2000-01-01'
                    and {{ month_of(business_time("occurred_at")) }} <= {{ month_of(business_time(clock())) }}
                then {{ month_of(business_time("occurred_at")) }} = {{ this_month() }}
                else source_file in (__home_files__)
            end
    ),
    judged as (select *, {{ action_reasons() }} as reasons from of_this_month),
    repeated_ids as (select action_id from judged where reasons is null group by action_id having count(*) > 1),
    ranked_repetitions as (
        select
            judged.*,
            row_number() over (
                partition by judged.action_id
                order by
                    judged.occurred_at,
                    judged.user_id,
                    judged.action,
                    judged.item_id nulls last,
                    judged.search_term nulls last,
                    judged.quantity nulls last,
                    judged.session_id nulls last,
                    judged.device nulls last,
                    judged.dwell_seconds nulls last,
                    judged.source_file
            )
            > 1 as is_duplicate
        from judged
        inner join repeated_ids on judged.action_id = repeated_ids.action_id
        where judged.reasons is null
    ),
    all_rows as (
        select judged.*, false as is_duplicate
        from judged
        left join repeated_ids on judged.action_id = repeated_ids.action_id
        where judged.reasons is not null or repeated_ids.action_id is null
        union all
        select *
        from ranked_repetitions
    ),
    told as (
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
    -- Last, so that which of several repetitions is kept does not depend on who has left.
    set_aside as ({{ users_set_aside("select distinct user_id from told", ref("stg_consents")) }})
select
    {{ this_month() }} as month,
    {% for column in action_facts() %}
        case when set_aside.reason is null then told.{{ column }} end as {{ column }},
    {% endfor %}
    told.source_file,
    set_aside.reason is null and told.is_duplicate as is_duplicate,
    -- Without a user nobody consents, and there is nobody to say so of.
    coalesce(case when told.user_id is not null then set_aside.reason end, told.reasons) as reasons
from told
left join set_aside on told.user_id is not distinct from set_aside.user_id
