-- What the checkout tells of a month, habits, shares and pairs of items, comes from the baskets before the month alone.
with
    known as (
        select months.month, count(*) as n_lines, count(distinct concat(lines.user_id, ' ', lines.item_no)) as n_habits
        from {{ ref("checkout_months") }} as months
        inner join {{ ref("checkout_lines") }} as lines on lines.month < months.month and lines.acted_on < months.month
        group by months.month
    ),
    told as (
        select months.month, coalesce(sum(items.n_lines), 0) as n_lines
        from {{ ref("checkout_months") }} as months
        left join {{ ref("checkout_items") }} as items on months.month = items.month
        group by months.month
    ),
    habits as (
        select month, count(*) as n_habits, sum(n_baskets) as n_lines from {{ ref("checkout_habits") }} group by month
    )
select told.month
from told
left join known on told.month = known.month
left join habits on told.month = habits.month
where
    coalesce(known.n_lines, 0) <> told.n_lines
    or coalesce(known.n_lines, 0) <> coalesce(habits.n_lines, 0)
    or coalesce(known.n_habits, 0) <> coalesce(habits.n_habits, 0)
union all
select users.month
from {{ ref("checkout_users") }} as users
where users.recency_days < 1
