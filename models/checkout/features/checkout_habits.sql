-- Repeat-purchase scores, one row per month, user and item: purchases decayed by half-life. The target month covers all
-- users, past months only users with a query.
with queried as (select distinct month, user_id from {{ ref("checkout_queries") }})
select
    months.month,
    lines.user_id,
    lines.item_no,
    count(*) as n_baskets,
    sum({{ exact(decayed(days_between("months.month", "lines.acted_on"))) }}) as score,
    sum({{ exact(decayed(days_between("months.month", "lines.acted_on"), 4)) }}) as recent_score,
    min(lines.acted_on) as first_on,
    max(lines.acted_on) as last_on
from {{ ref("checkout_months") }} as months
inner join {{ ref("checkout_lines") }} as lines on lines.month < months.month
left join queried on months.month = queried.month and lines.user_id = queried.user_id
where not months.is_closed or queried.user_id is not null
group by months.month, lines.user_id, lines.item_no
