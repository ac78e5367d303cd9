-- Users per stage and month, with arrivals and departures. Small counts are null.
with
    users_in_stages as (select distinct user_id, stage, month from {{ ref("user_stage_months") }} where is_in_stage),
    neighbours as (
        select
            *,
            lag(month) over (partition by user_id, stage order by month) as month_before,
            lead(month) over (partition by user_id, stage order by month) as month_after
        from users_in_stages
    ),
    here as (
        select
            month,
            stage,
            count(*) as n_users,
            count(case when month_before = {{ months_after("month", -1) }} then null else 1 end) as n_moved_in
        from neighbours
        group by month, stage
    ),
    gone as (
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
            coalesce(here.n_users, 0) as n_users,
            coalesce(here.n_moved_in, 0) as n_moved_in,
            coalesce(gone.n_moved_out, 0) as n_moved_out
        from months
        cross join {{ ref("stages") }} as stages
        left join here on months.month = here.month and stages.stage = here.stage
        left join gone on months.month = gone.month and stages.stage = gone.stage
    ),
    with_suppression as (
        select
            *,
            cast(n_users as double) / nullif(sum(n_users) over (partition by month), 0) as share,
            {{ is_suppressed_count("n_users", "month", "stage_no") }} as is_suppressed
        from counted
    ),
    -- The month before follows from this month and its flows, so its suppression extends to them.
    flows as (
        select
            *,
            not is_suppressed
            and not lag(is_suppressed) over (partition by stage order by month)
            and n_moved_in >= {{ var("min_cell_users") }}
            and n_moved_out >= {{ var("min_cell_users") }} as flows_are_published
        from with_suppression
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
