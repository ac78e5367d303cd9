-- Duration of an inferred stage: at most its length in months. A registered one ends by its birthday.
with
    changes as (
        select
            *,
            case
                when
                    lag(stage) over (partition by user_id, child_no order by month) = stage
                    and lag(month) over (partition by user_id, child_no order by month)
                    = {{ months_after("month", -1) }}
                then 0
                else 1
            end as begins
        from {{ ref("user_stage_months") }}
        where is_in_stage and source = 'inferred'
    ),
    runs as (select *, sum(begins) over (partition by user_id, child_no order by month) as run_no from changes)
select runs.user_id, runs.child_no, runs.stage, runs.run_no, count(*) as n_months
from runs
inner join {{ ref("stages") }} as stages on runs.stage = stages.stage
group by runs.user_id, runs.child_no, runs.stage, runs.run_no, stages.from_month, stages.to_month
having count(*) > stages.to_month - stages.from_month
