-- Product types seen together, one row per month and ordered pair of types: pairs of different items in one visit.
{{ config(materialized="monthly", meta={"months": "checkout_history", "reads": {}}) }}
-- depends on: {{ ref("month_calendar") }} {{ ref("checkout_months") }}
with
    visits as (
        select *, count(*) over (partition by month, visit_no) as n_items
        from {{ ref("checkout_visits") }}
        where month in {{ pending_months() }}
    )
select one.month, one.type_no, another.type_no as other_type_no, count(*) as n_pairs
from visits as one
inner join
    visits as another
    on one.month = another.month
    and one.visit_no = another.visit_no
    and one.item_no <> another.item_no
where one.n_items <= 100
group by one.month, one.type_no, another.type_no
