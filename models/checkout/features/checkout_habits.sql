-- What each shopper buys again and again: every purchase counts, half as much with every half-life that has passed.
select
    months.month,
    lines.user_id,
    lines.item_no,
    count(*) as n_baskets,
    sum(
        {{
            exact(
                "power(0.5, "
                ~ days_between("months.month", "lines.acted_on")
                ~ " / cast("
                ~ var("checkout_half_life_days")
                ~ " as double))"
            )
        }}
    ) as score
from {{ ref("checkout_months") }} as months
inner join {{ ref("checkout_lines") }} as lines on lines.month < months.month
group by months.month, lines.user_id, lines.item_no
