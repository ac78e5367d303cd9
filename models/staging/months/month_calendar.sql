-- Gap-free month calendar with status and content hash, one row per month. A changed hash triggers a rebuild of that
-- month in every later table.
{{ config(meta={"always_built": true, "calendar": true}) }}
{% set through_month = "date '" ~ var("through_month") ~ "-01'" if var("through_month") else "cast(null as date)" %}
with
    span as (
        select
            min(month) as first_month,
            greatest(max(month), coalesce({{ through_month }}, max(month))) as last_month,
            max(last_acted_on) as last_acted_on
        from {{ ref("action_months") }}
        where content_hash <> 'none'
    ),
    calendar as ({{ every_month("first_month", "last_month", "span") }}),
    absent as ({{ months_absent_from_source(ref("source_file_months"), ref("action_months")) }})
select
    calendar.month,
    -- An action on the last day or later (or the var) shows that the month's data is complete.
    calendar.month < {{ month_of(business_time(clock())) }}
    and (
        span.last_acted_on >= last_day(calendar.month) or coalesce(calendar.month <= {{ through_month }}, false)
    ) as is_closed,
    case
        when coalesce(action_months.n_rows, 0) = 0
        then 'missing'
        when absent.month is not null or calendar.month < date '{{ retained_from("actions") }}'
        then 'archived'
        when action_months.n_actions = 0
        then 'unusable'
        else 'present'
    end as status,
    coalesce(action_months.n_rows, 0) as n_rows,
    coalesce(action_months.n_actions, 0) as n_actions,
    coalesce(action_months.n_rejected, 0) as n_rejected,
    coalesce(action_months.n_duplicates, 0) as n_duplicates,
    coalesce(action_months.content_hash, 'none') as content_hash
from calendar
cross join span
left join {{ ref("action_months") }} as action_months on calendar.month = action_months.month
left join absent on calendar.month = absent.month
