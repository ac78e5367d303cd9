-- What each shopper buys again and again: every purchase counts, half as much with every half-life that has passed. Of
-- everybody for the month to come, of past months where there is a question.
with asked as (select distinct month, user_id from {{ ref("checkout_cases") }})
select
    months.month,
    lines.user_id,
    lines.item_no,
    count(*) as n_baskets,
    sum({{ exact(faded(days_between("months.month", "lines.acted_on"))) }}) as score,
    sum({{ exact(faded(days_between("months.month", "lines.acted_on"), 4)) }}) as score_lately,
    min(lines.acted_on) as first_on,
    max(lines.acted_on) as last_on
from {{ ref("checkout_months") }} as months
inner join {{ ref("checkout_lines") }} as lines on lines.month < months.month
left join asked on months.month = asked.month and lines.user_id = asked.user_id
where not months.is_closed or asked.user_id is not null
group by months.month, lines.user_id, lines.item_no
