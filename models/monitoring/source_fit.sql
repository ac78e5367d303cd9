-- Fit of the tables of the source, one row per measure and month: actions on items of the catalogue,
-- registered users with an action, users of a month seen before. The run fails if a share is low, or falls by half.
{{ config(meta={"check": "check_fit"}) }}
with
    first_months as (select user_id, min(month) as first_month from {{ ref("user_months") }} group by user_id),
    counts as (
        select 'actions on items of the catalogue' as measure, month, n_item_actions as n_all, n_in_catalogue as n_found
        from {{ ref("catalogue_fit") }}
        union all
        select
            'users seen before' as measure,
            users.month,
            count(*) as n_all,
            count(case when first_months.first_month < users.month then 1 end) as n_found
        from {{ ref("user_months") }} as users
        inner join first_months on users.user_id = first_months.user_id
        group by users.month
        union all
        select
            'registered users with an action' as measure,
            date '1970-01-01' as month,
            count(*) as n_all,
            count(first_months.user_id) as n_found
        from (select distinct user_id from {{ ref("stg_children") }}) as registered
        left join first_months on registered.user_id = first_months.user_id
    )
-- Beside the median of up to six months before, from three of them on.
select
    counts.measure,
    counts.month,
    max(counts.n_all) as n_all,
    max(counts.n_found) as n_found,
    case
        when count(before.n_all) >= 3 then {{ order_statistic("before.n_found / cast(before.n_all as double)", 0.5) }}
    end as share_before
from counts
left join
    counts as before
    on counts.measure = before.measure
    and before.n_all > 0
    and {{ months_between("counts.month", "before.month") }} between 1 and 6
group by counts.measure, counts.month
