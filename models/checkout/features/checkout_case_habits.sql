-- What the shopper of a case buys again and again, as of the day of the question: the month's habits, aged to that day,
-- and what has been bought since.
{% set day = "cases.asked_on" %}
with
    bought as (
        select
            cases.case_no,
            cases.asked_on,
            habits.item_no,
            habits.n_baskets,
            habits.score * {{ faded(days_between(day, "cases.month")) }} as score,
            habits.score_lately * {{ faded(days_between(day, "cases.month"), 4) }} as score_lately,
            habits.first_on,
            habits.last_on
        from {{ ref("checkout_cases") }} as cases
        inner join
            {{ ref("checkout_habits") }} as habits on cases.month = habits.month and cases.user_id = habits.user_id
        union all
        select
            cases.case_no,
            cases.asked_on,
            lines.item_no,
            1 as n_baskets,
            {{ faded(days_between(day, "lines.acted_on")) }} as score,
            {{ faded(days_between(day, "lines.acted_on"), 4) }} as score_lately,
            lines.acted_on as first_on,
            lines.acted_on as last_on
        from {{ ref("checkout_cases") }} as cases
        inner join
            {{ ref("checkout_lines") }} as lines
            on cases.month = lines.month
            and cases.user_id = lines.user_id
            and lines.acted_on < cases.asked_on
    )
select
    case_no,
    item_no,
    cast(sum(n_baskets) as bigint) as n_baskets,
    sum({{ exact("score") }}) as score,
    sum({{ exact("score_lately") }}) as score_lately,
    {{ days_between("asked_on", "max(last_on)") }} as since_days,
    {{ days_between("max(last_on)", "min(first_on)") }} / nullif(sum(n_baskets) - 1, 0) as interval_days
from bought
group by case_no, asked_on, item_no
