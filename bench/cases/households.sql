-- Queries of bench/households.py: the population of scored users, then the figures of docs/results.md by name.
{% set is_hidden = "cast('0x' || left(md5(concat(user_id, 'hidden')), 8) as bigint) / 4294967296.0 < 0.33" %}
{% set children = "'" ~ source ~ "/truth/children.parquet'" %}
{% set unregistered %}
    select distinct user_id from birth_month_filter
    where month = date '{{ trained_through }}-01' and user_id not in (select user_id from stg_children)
{% endset %}
-- name: registered and not hidden
copy (
    select * from '{{ source }}/truth/registered.parquet'
    where not ({{ is_hidden }})
    and cast('0x' || left(md5(concat(user_id, 'registered')), 8) as bigint) / 4294967296.0 < {{ registered_share }}
) to '{{ source }}/children.parquet' (format parquet)
;
-- name: population
create temp table scored as
select distinct user_id
from user_stage_months
where {{ is_hidden }}
;
create temp table children as
select cast(user_id as string) as user_id, birth_date
from {{ children }}
where cast(user_id as string) in (from scored)
;
create temp table months as
select distinct month
from user_stage_months
where month > date '{{ trained_through }}-01'
;
create temp table truth as
select distinct user_id, month, stage
from children
cross join months
join stages on datediff('month', birth_date, month) between from_month and to_month - 1
;
create temp table published as
select rows.*, truth.stage is not null as is_right
from user_stage_months as rows
join scored using (user_id)
join months using (month)
left join truth using (user_id, month, stage)
where rows.is_in_stage
;
create temp table households as
select
    households.user_id,
    households.month,
    stages.stage,
    truth.stage is not null as has_child,
    (1 - no_child_probability)
    * case
        stages.stage
{% for stage in stages %}
        when '{{ stage }}' then h_{{ stage }}
{% endfor %}
    end as probability
from household_stages as households
join scored using (user_id)
join months using (month)
cross join stages
left join truth on (truth.user_id, truth.month, truth.stage) = (households.user_id, households.month, stages.stage)
;
-- name: groups
{% set groups = {
    "all rows": "true",
    "newest month": "month = (select max(month) from months)",
    "first children": "is_primary",
    "further children": "not is_primary",
    "confidence high": "confidence = 'high'",
    "confidence medium": "confidence = 'medium'",
    "confidence low": "confidence = 'low'",
} %}
{% for stage in stages %} {% set _ = groups.update({stage: "stage = '" ~ stage ~ "'"}) %} {% endfor %}
{% for name, condition in groups.items() %}
    {% if not loop.first %}
        union all
    {% endif %}
    select
        '{{ name }}' as "group",
        count(*) as n_rows,
        avg(cast(is_right as integer)) as right_share,
        avg(probability) as probability
    from published
    where {{ condition }}
{% endfor %}
;
-- name: one child
select truth.stage as true_stage, rows.*
from user_stage_months as rows
join truth using (user_id, month)
where rows.is_primary and rows.user_id in (select user_id from children group by user_id having count(*) = 1)
;
-- name: recall
select avg(cast(published.stage is not null as integer))
from truth
left join (select distinct user_id, month, stage from published) as published using (user_id, month, stage)
;
-- name: childless with a row
select avg(cast(user_id in (select user_id from published) as integer))
from scored
where user_id not in (select user_id from children)
;
-- name: childless with a row in the newest month
select avg(cast(user_id in (select user_id from published where month = (select max(month) from months)) as integer))
from scored
where user_id not in (select user_id from children)
;
-- name: household log-loss
select
    sum(- ln(greatest(case when has_child then probability else 1 - probability end, 1e-4)))
    / count(distinct(user_id, month))
from households
;
-- name: calibration error
select sum(abs(gap)) / sum(n)
from
    (
        select sum(cast(is_right as integer) - probability) as gap, count(*) as n
        from published
        group by least(floor(probability * 15), 14)
    )
;
-- name: entries of further children, largest month over median
select max(n) / median(n)
from
    (
        select count(*) as n
        from user_stage_months
        where
            is_in_stage
            and not is_primary
            and source = 'inferred'
            and since_month = month
            and month >= date '2015-09-01'
        group by month
    )
;
-- name: changes back within two months, per user and year
select 12 * sum(cast(stage = before_last and stage <> last as integer)) / count(*)
from
    (
        select
            stage,
            lag(stage) over (partition by user_id, child_no order by month) as last,
            lag(stage, 2) over (partition by user_id, child_no order by month) as before_last
        from user_stage_months
        join scored using (user_id)
    )
;
-- name: longest inferred stage, months beyond its length
select max(datediff('month', since_month, month) + 1 - (to_month - from_month))
from user_stage_months
join stages using (stage)
where is_in_stage and source = 'inferred'
;
-- name: estimated share of childless among the unregistered
select max(childless_share)
from household_weights
;
-- name: true share, none expected by then
select
    avg(
        cast(
            user_id not in (
                select cast(user_id as string)
                from {{ children }}
                where birth_date < date '{{ trained_through }}-01' + interval 10 month
            ) as integer
        )
    )
from ({{ unregistered }})
;
-- name: true share, none later either
select avg(cast(user_id not in (select cast(user_id as string) from {{ children }}) as integer))
from ({{ unregistered }})
;
-- name: months from a change of stage to its publication
-- Of one-child users whose change is published at all.
with
    alone as (select user_id, min(birth_date) as birth_date from children group by user_id having count(*) = 1),
    changes as (
        select user_id, stage, date_trunc('month', birth_date) + from_month * interval 1 month as changed
        from alone
        cross join stages
    ),
    firsts as (select user_id, stage, min(month) as published from published group by user_id, stage)
select median(datediff('month', changed, published))
from changes
join firsts using (user_id, stage)
where changed between (select min(month) from months) and (select max(month) from months)
;
