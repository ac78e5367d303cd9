-- The right answers of a case: what else went into the basket, or what the shopper bought in the month's first days.
{{ config(materialized="view") }}
select cases.case_no, lines.item_no
from {{ ref("checkout_cases") }} as cases
inner join
    {{ ref("checkout_lines") }} as lines
    on cases.month = lines.month
    and cases.case_id = lines.basket_id
    and not lines.is_given
where cases.kind = 'cart'
union all
select cases.case_no, labels.item_no
from {{ ref("checkout_cases") }} as cases
inner join {{ ref("checkout_labels") }} as labels on cases.month = labels.month and cases.user_id = labels.user_id
where cases.kind = 'user'
