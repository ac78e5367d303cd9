-- Drift measures of the report, one row per month and measure: out-of-vocabulary share, mean probability, active users.
-- Shares of few users, or that leave few others, are suppressed.
{{ config(materialized="view") }}
with
    measures as (
        select
            month,
            'actions the model knows nothing of' as measure,
            avg(out_of_vocabulary_share) as share,
            count(*) as n_users,
            0 as n_others
        from {{ ref("stage_log_likelihoods") }}
        group by month
        union all
        select
            month,
            'mean probability of the published stage' as measure,
            avg(probability) as share,
            count(distinct user_id) as n_users,
            0 as n_others
        from {{ ref("user_stage_months") }}
        where is_in_stage
        group by month
        union all
        select
            month,
            'users with actions in the month' as measure,
            avg(cast(last_active_month = month as integer)) as share,
            count(case when last_active_month = month then 1 end) as n_users,
            count(case when last_active_month < month then 1 end) as n_others
        from {{ ref("user_stage_months") }}
        where is_primary
        group by month
    )
select month, measure, share
from measures
where
    n_users >= {{ setting("marts_min_cell_users") }}
    and (n_others = 0 or n_others >= {{ setting("marts_min_cell_users") }})
