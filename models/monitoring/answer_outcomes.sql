-- Clicks, purchases and revenue after the answers of life-stage serve, from its optional log, one row per month,
-- placement and model. An item counts as clicked within a day, as bought within seven; two answers that showed it are
-- both credited.
-- depends_on: {{ source_table("answers") }}
with
    -- A file delivered twice counts once.
    shown as (
        select distinct
            trim(answer_id) as answer_id,
            {{ moment("answered_at") }} as answered_at,
            coalesce(nullif(trim(placement), ''), 'unknown') as placement,
            coalesce(nullif(trim(model), ''), 'unknown') as model,
            -- As in the tables: a pseudonym, if there is a key.
            case when not {{ is_erased("trim(user_id)") }} then nullif(trim(user_id), '') end as user_id,
            {{ id_of("item_id") }} as item_id
        from ({{ source_rows("answers") }}) as raw_answers
    ),
    items as (
        select
            *,
            {{ month_of(business_time("answered_at")) }} as month,
            coalesce(answer_id <> '' and item_id <> '' and answered_at is not null, false) as is_usable
        from shown
    ),
    reactions as (
        select
            items.answer_id,
            items.item_id,
            max(
                case
                    when actions.action = 'click' and actions.occurred_at <= items.answered_at + interval '1' day then 1
                end
            ) as is_clicked,
            max(case when actions.action = 'purchase' then 1 end) as is_bought,
            sum(
                case
                    when actions.action = 'purchase'
                    then {{ exact("coalesce(actions.price, catalogue.price) * coalesce(actions.quantity, 1)") }}
                end
            ) as revenue
        from items
        inner join
            {{ ref("stg_actions") }} as actions
            on items.user_id = actions.user_id
            and items.item_id = actions.item_id
            and actions.occurred_at > items.answered_at
            and actions.occurred_at <= items.answered_at + interval '7' day
        left join {{ ref("stg_items") }} as catalogue on items.item_id = catalogue.item_id
        where items.is_usable
        group by items.answer_id, items.item_id
    ),
    counted as (
        select
            coalesce(items.month, date '1970-01-01') as month,
            items.placement,
            items.model,
            count(distinct case when items.is_usable then items.answer_id end) as n_answers,
            count(case when items.is_usable then 1 end) as n_items,
            count(case when not items.is_usable then 1 end) as n_unusable,
            count(distinct case when items.is_usable then items.user_id end) as n_users,
            count(case when items.is_usable then items.user_id end) as n_items_of_users,
            count(reactions.is_clicked) as n_clicked,
            count(reactions.is_bought) as n_bought,
            sum(reactions.revenue) as revenue,
            count(reactions.is_clicked)
            / nullif(cast(count(case when items.is_usable then items.user_id end) as double), 0) as click_through_rate,
            count(reactions.is_bought)
            / nullif(cast(count(case when items.is_usable then items.user_id end) as double), 0) as conversion_rate
        from items
        left join
            reactions on items.answer_id = reactions.answer_id and items.item_id = reactions.item_id and items.is_usable
        group by coalesce(items.month, date '1970-01-01'), items.placement, items.model
    ),
    of_users as (
        select month, placement, model, user_id, count(*) as n_items
        from items
        where is_usable and user_id is not null
        group by month, placement, model, user_id
    ),
    independent as (
        select month, placement, model, {{ effective_sample_size("n_items") }} as n_items
        from of_users
        group by month, placement, model
    )
select
    counted.*,
    {{ wilson_limits("counted.click_through_rate", "independent.n_items", "click_through_rate") }},
    {{ wilson_limits("counted.conversion_rate", "independent.n_items", "conversion_rate") }}
from counted
left join
    independent
    on counted.month = independent.month
    and counted.placement = independent.placement
    and counted.model = independent.model
