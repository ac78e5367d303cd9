-- Items of a visit, one row per month, visit and item: clicked, collected, put into the cart or bought in one session.
{{ config(materialized="monthly", meta={"months": "checkout_history", "reads": {"stg_actions": "never"}}) }}
-- depends on: {{ ref("month_calendar") }} {{ ref("checkout_months") }}
select distinct
    actions.month,
    actions.user_id,
    cast(
        dense_rank() over (
            partition by actions.month
            order by actions.user_id, coalesce(actions.session_id, cast(actions.acted_on as string))
        ) as integer
    ) as visit_no,
    catalogue.item_no,
    catalogue.type_no
from {{ ref("stg_actions") }} as actions
inner join {{ ref("checkout_catalogue") }} as catalogue on actions.item_id = catalogue.item_id
where actions.month in {{ pending_months() }}
