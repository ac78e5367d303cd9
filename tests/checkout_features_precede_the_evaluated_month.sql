-- What the checkout tells of a month, habits, shares and pairs of items, comes from the baskets before the month alone.
with
    known as (
        select
            months.month,
            lines.user_id,
            months.is_closed,
            count(*) as n_lines,
            count(distinct lines.item_no) as n_habits
        from {{ ref("checkout_months") }} as months
        inner join {{ ref("checkout_lines") }} as lines on lines.month < months.month and lines.acted_on < months.month
        group by months.month, lines.user_id, months.is_closed
    ),
    of_months as (select month, sum(n_lines) as n_lines from known group by month),
    published as (
        select months.month, coalesce(sum(items.n_lines), 0) as n_lines
        from {{ ref("checkout_months") }} as months
        left join {{ ref("checkout_items") }} as items on months.month = items.month
        group by months.month
    ),
    -- Of the month to come everybody's habits are told, of the others where there is a question.
    asked as (select distinct month, user_id from {{ ref("checkout_queries") }}),
    told_to as (
        select known.*
        from known
        left join asked on known.month = asked.month and known.user_id = asked.user_id
        where not known.is_closed or asked.user_id is not null
    ),
    habits as (
        select month, user_id, count(*) as n_habits, sum(n_baskets) as n_lines
        from {{ ref("checkout_habits") }}
        group by month, user_id
    )
select published.month, cast(null as string) as user_id
from published
left join of_months on published.month = of_months.month
where coalesce(of_months.n_lines, 0) <> published.n_lines
union all
select coalesce(told_to.month, habits.month), coalesce(told_to.user_id, habits.user_id)
from told_to
full outer join habits on told_to.month = habits.month and told_to.user_id = habits.user_id
where
    coalesce(told_to.n_lines, 0) <> coalesce(habits.n_lines, 0)
    or coalesce(told_to.n_habits, 0) <> coalesce(habits.n_habits, 0)
union all
select users.month, users.user_id
from {{ ref("checkout_users") }} as users
where users.recency_days < 1
