-- Rejected rows, one row per table and reason. Counts of few users, of erased users and of users without consent are
-- suppressed.
{{ config(materialized="view") }}
with
    rejected as (
        select 'actions' as table_name, reason, user_id
        from {{ ref("stg_rejected_actions") }}
        union all
        select table_name, reason, id as user_id
        from {{ ref("stg_rejected_registrations") }}
    ),
    counted as (
        select
            table_name,
            reason,
            count(*) as n_rows,
            -- A row without a user counts as one more user.
            case
                when reason in ('user_erased', 'no_consent')
                then 0
                else count(distinct user_id) + count(*) - count(user_id)
            end as n_users
        from rejected
        group by table_name, reason
    ),
    suppression as (
        select *, {{ is_suppressed_count("n_users", "table_name", "reason") }} as is_suppressed from counted
    )
select table_name, reason, case when table_name = 'items' or not is_suppressed then n_rows end as n_rows
from suppression
