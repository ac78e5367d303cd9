-- Months of the checkout, one row per month: evaluated months and, last, the target month. Features of a month use
-- earlier months only.
{% set n = setting("checkout_months") %}
with
    closed as (
        select min(month) as first_month, max(month) as last_month from {{ ref("month_calendar") }} where is_closed
    ),
    -- Rankers are trained on two months.
    span as (
        select
            greatest({{ months_after("last_month", -1 - n) }}, {{ months_after("first_month", 1) }}) as first_month,
            {{ months_after("last_month", 1 - n) }} as first_evaluated_month,
            {{ months_after("last_month", 1) }} as made_for
        from closed
        where {{ n }} > 0 and last_month > first_month
    ),
    calendar as ({{ every_month("first_month", "made_for", "span") }})
select
    calendar.month,
    calendar.month < span.made_for as is_closed,
    calendar.month < span.made_for
    and calendar.month > span.first_month
    and calendar.month >= span.first_evaluated_month as is_evaluated,
    cast({{ setting("checkout_half_life_days") }} as double) as half_life_days,
    cast({{ setting("checkout_new_places") }} as integer) as n_new_places
from calendar
cross join span
