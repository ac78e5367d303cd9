-- Basket lines, one row per basket and item: items put into the cart or bought in one session.
{{ config(materialized="monthly", meta={"months": "checkout_history", "reads": {"stg_actions": "never"}}) }}
-- depends on: {{ ref("month_calendar") }} {{ ref("checkout_months") }}
with
    basket_actions as (
        select
            actions.*,
            catalogue.item_no,
            case
                when
                    actions.session_id is null
                    and lag(actions.occurred_at) over (
                        partition by actions.month, actions.user_id, actions.session_id
                        order by actions.occurred_at, actions.action_id
                    )
                    < actions.occurred_at - interval '30' minute
                then 1
                else 0
            end as is_after_pause
        from {{ ref("stg_actions") }} as actions
        inner join {{ ref("checkout_catalogue") }} as catalogue on actions.item_id = catalogue.item_id
        where actions.action in ('cart', 'purchase') and actions.month in {{ pending_months() }}
    ),
    sessions as (
        select
            *,
            sum(is_after_pause) over (
                partition by month, user_id, session_id
                order by occurred_at, action_id
                rows between unbounded preceding and current row
            ) as visit_no
        from basket_actions
    ),
    -- Sessions end with the month, so that features of earlier months contain no line of it.
    lines as (
        select
            month,
            concat(user_id, ' ', coalesce(session_id, concat('visit ', cast(visit_no as string)))) as basket_id,
            user_id,
            item_no,
            item_id,
            min(acted_on) as acted_on,
            max(case when action = 'purchase' then 1 else 0 end) = 1 as is_purchased,
            cast(sum(case when action = 'purchase' then coalesce(quantity, 1) else 0 end) as bigint) as n_units
        from sessions
        group by
            month,
            concat(user_id, ' ', coalesce(session_id, concat('visit ', cast(visit_no as string)))),
            user_id,
            item_no,
            item_id
    )
select
    *,
    -- A reproducible random half of the basket serves as the context of the query.
    2 * row_number() over (
        partition by month, basket_id order by {{ sample_uniform("concat(basket_id, ' ', item_id)") }}, item_id
    )
    <= count(*) over (partition by month, basket_id) as is_context_item
from lines
