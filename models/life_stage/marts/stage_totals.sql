-- How many are in each stage, month by month, and how many came and went. Counts that could point at few people are
-- null.
with
    in_stages as (
        select
            history.month,
            history.stage,
            count(*) as n_children,
            count(distinct history.user_id) as n_users,
            count(case when history.since_month = history.month then 1 end) as n_moved_in
        from {{ ref("user_stage_months") }} as history
        where history.is_in_stage
        group by history.month, history.stage
    ),
    months_of_stages as (
        select months.month, stages.stage_no, stages.stage
        from (select distinct month from {{ ref("user_stage_months") }}) as months
        cross join {{ ref("stages") }} as stages
    ),
    counted as (
        select
            months_of_stages.*,
            coalesce(in_stages.n_children, 0) as n_children,
            coalesce(in_stages.n_users, 0) as n_users,
            coalesce(in_stages.n_moved_in, 0) as n_moved_in
        from months_of_stages
        left join in_stages on months_of_stages.month = in_stages.month and months_of_stages.stage = in_stages.stage
    ),
    moved as (
        select
            *,
            lag(n_children) over (partition by stage order by month) + n_moved_in - n_children as n_moved_out,
            n_children * 1.0 / nullif(sum(n_children) over (partition by month), 0) as share,
            {{ is_small_cell("n_users", "month", "stage_no") }} as is_suppressed
        from counted
    )
select
    month,
    stage_no,
    stage,
    is_suppressed,
    case when not is_suppressed then n_children end as n_children,
    case when not is_suppressed then n_users end as n_users,
    case when not is_suppressed then share end as share,
    {% for flow in ["n_moved_in", "n_moved_out"] %}
        case
            when
                not is_suppressed
                and n_moved_in >= {{ var("min_cell_users") }}
                and n_moved_out >= {{ var("min_cell_users") }}
            then {{ flow }}
        end as {{ flow }}
        {%- if not loop.last %},{% endif %}
    {% endfor %}
from moved
