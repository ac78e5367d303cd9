-- What is known of a case: what lies in the cart, and the shopper's twenty strongest habits.
with
    habits as (
        select
            cases.case_no,
            cases.month,
            habits.item_no,
            habits.score,
            row_number() over (partition by cases.case_no order by habits.score desc, habits.item_no) as habit_no
        from {{ ref("checkout_cases") }} as cases
        inner join {{ ref("checkout_case_habits") }} as habits on cases.case_no = habits.case_no
    )
select cases.case_no, cases.month, lines.item_no, 'cart' as place, cast(1 as double) as weight
from {{ ref("checkout_cases") }} as cases
inner join
    {{ ref("checkout_lines") }} as lines
    on cases.month = lines.month
    and cases.case_id = lines.basket_id
    and lines.is_given
where cases.kind = 'cart'
union all
select case_no, month, item_no, 'history' as place, score as weight
from habits
where habit_no <= 20
