-- Dimension of users, one row per user of user_stage_months in the newest closed month.
with
    newest as (select max(month) as month from {{ ref("user_stage_months") }}),
    households as (
        select distinct history.user_id, history.month, history.n_children, history.no_child_probability
        from {{ ref("user_stage_months") }} as history
        inner join newest on history.month = newest.month
    ),
    registered as (select user_id, count(*) as n_registered from {{ ref("stg_children") }} group by user_id),
    active as (
        select user_id, min(month) as first_active_month, max(month) as last_active_month, count(*) as n_active_months
        from {{ ref("user_months") }}
        group by user_id
    )
select
    households.user_id,
    households.month,
    households.n_children,
    cast(coalesce(registered.n_registered, 0) as integer) as n_registered_children,
    households.no_child_probability,
    active.first_active_month,
    active.last_active_month,
    cast(coalesce(active.n_active_months, 0) as integer) as n_active_months
from households
left join registered on households.user_id = registered.user_id
left join active on households.user_id = active.user_id
