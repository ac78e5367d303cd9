-- Tables that bench/experiment.py stores for docs/results.md, by name.
-- name: accuracy
select * exclude (is_suppressed)
from stage_accuracy
where cohort = 'all' or period = 'all'
;
-- name: gain
select * exclude (is_suppressed)
from gain_over_baseline
where cohort = 'all' or period = 'all'
;
-- name: recall
select *
from stage_recall
where method in ('memory_less', 'dynamic_fusion_cold', 'birth_month_filter')
;
-- name: confusion
select * exclude (n_users, is_suppressed)
from stage_confusion
where method = 'birth_month_filter'
;
-- name: calibration
select * exclude (n_users, is_suppressed)
from stage_calibration
where method in ('memory_less', 'dynamic_fusion', 'birth_month_filter')
;
-- name: shares
-- Training users before the window, and test users in the window.
select 'training' as part, stage, count(*) as n_user_months
from training_rows
join stages on age_months >= from_month and age_months < to_month
where split = 'train' and is_active and month < (select min(month) from evaluation_window)
group by stage
union all
select 'test', true_stage, count(*)
from stage_predictions
where method = 'prior'
group by true_stage
;
-- name: users
select 'training' as part, count(distinct user_id) as n_users
from training_rows
where split = 'train' and is_active and month < (select min(month) from evaluation_window)
union all
select 'test', count(distinct user_id)
from stage_predictions
;
