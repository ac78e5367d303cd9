-- Users per stage with transitions, one row per month and stage. Small counts are suppressed.
with
    users_in_stages as (select distinct user_id, stage, month from {{ ref("user_stage_months") }} where is_in_stage),
    neighbours as (
        select
            *,
            lag(month) over (partition by user_id, stage order by month) as month_before,
            lead(month) over (partition by user_id, stage order by month) as month_after
        from users_in_stages
    ),
    current_users as (
        select
            month,
            stage,
            count(*) as n_users,
            count(case when month_before = {{ months_after("month", -1) }} then null else 1 end) as n_moved_in
        from neighbours
        group by month, stage
    ),
    departed_users as (
        select
            {{ months_after("month", 1) }} as month,
            stage,
            count(case when month_after = {{ months_after("month", 1) }} then null else 1 end) as n_moved_out
        from neighbours
        group by month, stage
    ),
    months as (select distinct month from {{ ref("user_stage_months") }}),
    counted as (
        select
            months.month,
            stages.stage_no,
            stages.stage,
            coalesce(current_users.n_users, 0) as n_users,
            coalesce(current_users.n_moved_in, 0) as n_moved_in,
            coalesce(departed_users.n_moved_out, 0) as n_moved_out
        from months
        cross join {{ ref("stages") }} as stages
        left join current_users on months.month = current_users.month and stages.stage = current_users.stage
        left join departed_users on months.month = departed_users.month and stages.stage = departed_users.stage
    ),
    suppression as (
        select
            *,
            cast(n_users as double) / nullif(sum(n_users) over (partition by month), 0) as share,
            {{ is_suppressed_count("n_users", "month", "stage_no") }} as is_suppressed
        from counted
    ),
    -- Transitions give the count of the month before, so its suppression applies to them too.
    flows as (
        select
            *,
            not is_suppressed
            and not lag(is_suppressed) over (partition by stage order by month)
            and n_moved_in >= {{ setting("marts_min_cell_users") }}
            and n_moved_out >= {{ setting("marts_min_cell_users") }} as flows_are_published
        from suppression
    )
select
    month,
    stage_no,
    stage,
    is_suppressed,
    case when not is_suppressed then n_users end as n_users,
    case when not is_suppressed then share end as share,
    case when flows_are_published then n_moved_in end as n_moved_in,
    case when flows_are_published then n_moved_out end as n_moved_out
from flows
