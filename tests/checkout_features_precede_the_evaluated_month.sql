-- No leakage into checkout features: habits and item shares of a month use only baskets before it.
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
    -- Habits exist for all users of the open month, and for users with a query in closed months.
    query_users as (select distinct month, user_id from {{ ref("checkout_queries") }}),
    expected as (
        select known.*
        from known
        left join query_users on known.month = query_users.month and known.user_id = query_users.user_id
        where not known.is_closed or query_users.user_id is not null
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
select coalesce(expected.month, habits.month), coalesce(expected.user_id, habits.user_id)
from expected
full outer join habits on expected.month = habits.month and expected.user_id = habits.user_id
where
    coalesce(expected.n_lines, 0) <> coalesce(habits.n_lines, 0)
    or coalesce(expected.n_habits, 0) <> coalesce(habits.n_habits, 0)
union all
select users.month, users.user_id
from {{ ref("checkout_users") }} as users
where users.recency_days < 1
