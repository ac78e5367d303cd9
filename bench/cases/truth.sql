-- Queries of bench/experiment.py: the simulator's truth beside predictions and published rows.
{% set p = "p_" ~ stages | join(", p_") %}
{% set is_test_user = "cast('0x' || left(md5(user_id), 8) as bigint) / 4294967296.0 >= 0.65" %}
-- name: only children
create temp table only_children as
select cast(user_id as string) as user_id, min(birth_date) as birth_date
from '{{ source }}/truth/children.parquet'
group by user_id
having count(*) = 1
;
-- name: predicted
select predictions.*, stages.stage as true_stage
from evaluation_predictions as predictions
join stage_predictions as evaluated using (method, user_id, month)
join only_children using (user_id)
join stages on datediff('month', birth_date, month) between from_month and to_month - 1
order by method, user_id, month
;
-- name: published
-- Rows of the published filter; a test user by the same hash as in stage_labels.
create temp table published as
select
    filter.*,
    datediff('month', birth_date, month) as age,
    stages.stage as true_stage,
    predicted.stage as predicted_stage,
    date_trunc('month', birth_date) between earliest_birth_month and latest_birth_month as holds,
    exists (
        select 1
        from user_months as acted
        where
            acted.user_id = filter.user_id
            and acted.month <= filter.month
            and acted.month >= date_trunc('month', birth_date)
    ) as acted_since_birth
from (from birth_month_filter where {{ is_test_user }}) as filter
join only_children using (user_id)
join evaluation_window using (month)
left join stages on datediff('month', birth_date, month) between from_month and to_month - 1
join stages as predicted on predicted.stage_no = list_position([{{ p }}], greatest({{ p }}))
;
-- name: intervals
-- Share of the user-months in a stage whose interval holds the true birth month, by stage and active months.
select
    predicted_stage as stage,
    case
        when months_of_evidence >= 9
        then '9 or more'
        when months_of_evidence >= 4
        then '4-8'
        when months_of_evidence >= 2
        then '2-3'
        else '1 active month'
    end as band,
    count(*) as n_user_months,
    avg(cast(holds as integer)) as coverage
from published
where true_stage is not null and expected_birth_month is not null
group by all
order by all
;
-- name: births
-- Confirmation of births: newborns without it, and children not yet born with it.
select 'newborns withheld' as figure, avg(cast(not birth_confirmed as integer)) as share
from published
where age between 0 and 5
union all
select 'newborns withheld, with an action since birth', avg(cast(not birth_confirmed as integer))
from published
where age between 0 and 5 and acted_since_birth
union all
select 'newborns without an action since birth', avg(cast(not acted_since_birth as integer))
from published
where age between 0 and 5
union all
select
    'unborn children with a confirmed birth', avg(cast(birth_confirmed and predicted_stage <> 'pregnancy' as integer))
from published
where age < 0
;
-- name: true ages
select distinct user_no, datediff('month', birth_date, (select max(month) from evaluation_window))
from training_rows
join only_children using (user_id)
;
-- name: confirmed
-- Expected: pregnancy is the most probable state in some month before the birth.
with
    ages as (
        select
            user_id,
            birth_confirmed,
            datediff('month', birth_date, month) as age,
            p_pregnancy * (1 - not_yet_expecting_probability - graduated_probability) as pregnancy
        from birth_month_filter
        join only_children using (user_id)
    ),
    expected as (select distinct user_id from ages where age < 0 and pregnancy > 0.5)
select avg(cast(is_confirmed as integer))
from
    (
        select user_id, bool_or(birth_confirmed) as is_confirmed
        from ages
        join expected using (user_id)
        where age between 0 and 5 and {{ is_test_user }}
        group by user_id
    )
;
-- name: losses
-- The simulator has no losses: months after the birth get the log-likelihoods of random months of families not yet
-- expecting.
create temp table ages as
select rows.*, datediff('month', birth_date, month) as age, row_number() over (order by user_id, month) as row_no
from stage_log_likelihoods as rows
join only_children using (user_id)
;
create temp table others as
select *, row_number() over (order by md5(concat(user_id, month))) - 1 as other_no
from ages
where age < -9
;
create temp table after_loss as
select others.* exclude (age, row_no, other_no) replace (ages.user_id as user_id, ages.month as month)
from ages
join others on ages.row_no * 7919 % (select count(*) from others) = other_no
where ages.age >= 0 and ages.user_id in (select user_id from ages where age < 0)
;
delete from stage_log_likelihoods as rows
using after_loss
where rows.user_id = after_loss.user_id and rows.month = after_loss.month
;
insert into stage_log_likelihoods by name from after_loss
;
truncate birth_month_filter
;
truncate birth_month_filter_cells
;
delete from build_log
where model like 'birth_month_filter%'
;
