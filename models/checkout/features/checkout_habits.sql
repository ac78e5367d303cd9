-- What each shopper buys again and again: every purchase counts, half as much with every half-life that has passed.
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
group by months.month, lines.user_id, lines.item_no
