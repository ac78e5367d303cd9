-- Children that stay in a stage, change it, enter or leave, one row per month, previous stage and stage. Small counts
-- are suppressed, with others of their row and column, so that none can be derived from the sums.
with
    in_stage as (select user_id, child_no, month, stage from {{ ref("user_stage_months") }} where is_in_stage),
    span as (select min(month) as first_month, max(month) as last_month from {{ ref("user_stage_months") }}),
    counted as (
        select
            coalesce(now.month, {{ months_after("before.month", 1) }}) as month,
            coalesce(before.stage, 'none') as previous_stage,
            coalesce(now.stage, 'none') as stage,
            count(*) as n_children,
            count(distinct coalesce(now.user_id, before.user_id)) as n_users
        from in_stage as now
        full outer join
            in_stage as before
            on now.user_id = before.user_id
            and now.child_no = before.child_no
            and now.month = {{ months_after("before.month", 1) }}
        group by 1, 2, 3
    ),
    suppression_0 as (
        select
            counted.*,
            counted.n_users < {{ setting("marts_min_cell_users") }}
            or coalesce(totals.is_suppressed, false)
            or coalesce(totals_before.is_suppressed, false) as is_suppressed
        from counted
        inner join span on counted.month > span.first_month and counted.month <= span.last_month
        left join {{ ref("stage_totals") }} as totals on counted.month = totals.month and counted.stage = totals.stage
        left join
            {{ ref("stage_totals") }} as totals_before
            on counted.month = {{ months_after("totals_before.month", 1) }}
            and counted.previous_stage = totals_before.stage
    ),
    -- Two of a row or column, and enough users, or none: in turn, because each adds to the other.
    {% set turns = [("previous_stage", "stage"), ("stage", "previous_stage")] * 3 %}
    {% for within, key in turns %}
        suppression_{{ loop.index }} as (
            select
                month,
                previous_stage,
                stage,
                n_children,
                n_users,
                is_suppressed
                or max(case when is_suppressed then 1 else 0 end) over (partition by month, {{ within }}) = 1
                and (
                    row_number() over in_turn <= 2
                    or (sum(n_users) over in_turn) - n_users < {{ setting("marts_min_cell_users") }}
                ) as is_suppressed
            from suppression_{{ loop.index0 }}
            window
                in_turn as (
                    partition by month, {{ within }}
                    order by case when is_suppressed then 0 else 1 end, n_users, {{ key }}
                    rows between unbounded preceding and current row
                )
        )
        {%- if not loop.last %},{% endif %}
    {% endfor %}
select
    counts.month,
    befores.stage_no as previous_stage_no,
    counts.previous_stage,
    stages.stage_no,
    counts.stage,
    counts.is_suppressed,
    case when not counts.is_suppressed then counts.n_children end as n_children
from suppression_{{ turns | length }} as counts
left join {{ ref("stages") }} as befores on counts.previous_stage = befores.stage
left join {{ ref("stages") }} as stages on counts.stage = stages.stage
