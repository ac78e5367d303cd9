-- Cohorts of the evaluated user-months, one row per user, month, cohort and period.
{{ config(materialized="view") }}
with
    evaluated as (select user_id, month from {{ ref("stage_predictions") }} where method = 'prior'),
    activity as (
        select
            evaluated.user_id,
            evaluated.month,
            max(case when acted.month = evaluated.month then 1 else 0 end) as is_active,
            count(distinct case when in_window.month is not null then acted.month end) as active_months_of_window,
            count(distinct case when acted.month <= evaluated.month then acted.month end) as months_of_evidence
        from evaluated
        left join {{ ref("user_months") }} as acted on evaluated.user_id = acted.user_id
        left join {{ ref("evaluation_window") }} as in_window on acted.month = in_window.month
        group by evaluated.user_id, evaluated.month
    ),
    memberships as (
        select *, 'all' as cohort
        from activity
        union all
        select *, case when is_active = 1 then 'active month' else 'empty month' end as cohort
        from activity
        union all
        select
            *,
            case
                when active_months_of_window = 0
                then 'not active in the window'
                when active_months_of_window <= 2
                then '1-2 active months'
                when active_months_of_window <= 4
                then '3-4 active months'
                else '5 or more active months'
            end as cohort
        from activity
        union all
        select *, 'active in the window' as cohort
        from activity
        where active_months_of_window > 0
        union all
        select
            *,
            case
                when months_of_evidence <= 1
                then 'history of 1 month'
                when months_of_evidence <= 3
                then 'history of 2-3 months'
                when months_of_evidence <= 8
                then 'history of 4-8 months'
                else 'history of 9 or more months'
            end as cohort
        from activity
    )
select user_id, month, cohort, 'all' as period
from memberships
union all
select user_id, month, cohort, substr(cast(month as string), 1, 7) as period
from memberships
