-- The questions put to the checkout: a cart that could hold more, or a shopper with an empty one.
with
    carts as (
        select
            lines.month,
            'cart' as kind,
            lines.basket_id as case_id,
            lines.user_id,
            min(lines.acted_on) as asked_on,
            count(case when lines.is_given then 1 end) as n_given,
            count(case when not lines.is_given then 1 end) as n_targets
        from {{ ref("checkout_lines") }} as lines
        inner join {{ ref("checkout_months") }} as months on lines.month = months.month
        group by lines.month, lines.basket_id, lines.user_id
        having count(case when lines.is_given then 1 end) > 0
    ),
    shoppers as (
        select
            users.month,
            'user' as kind,
            users.user_id as case_id,
            users.user_id,
            users.month as asked_on,
            0 as n_given,
            count(labels.item_no) as n_targets
        from {{ ref("checkout_users") }} as users
        left join
            {{ ref("checkout_labels") }} as labels on users.month = labels.month and users.user_id = labels.user_id
        group by users.month, users.user_id
    ),
    questions as (
        select *
        from carts
        union all
        select *
        from shoppers
    ),
    numbered as (
        select
            questions.*,
            months.is_judged,
            row_number() over (
                partition by questions.month, questions.kind
                order by {{ drawn("questions.case_id") }}, questions.case_id
            ) as draw
        from questions
        inner join {{ ref("checkout_months") }} as months on questions.month = months.month and months.is_closed
    )
select
    cast(row_number() over (order by numbered.month, numbered.kind, numbered.case_id) as bigint) as case_no,
    numbered.month,
    numbered.kind,
    numbered.case_id,
    numbered.user_id,
    numbered.asked_on,
    numbered.is_judged,
    numbered.n_given,
    numbered.n_targets,
    coalesce(users.stage, 'unknown') as stage,
    coalesce(users.n_baskets, 0) as n_baskets
from numbered
left join {{ ref("checkout_users") }} as users on numbered.month = users.month and numbered.user_id = users.user_id
where numbered.draw <= {{ var("checkout_cases") }}
