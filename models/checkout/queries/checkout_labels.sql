-- Labels of empty carts, one row per month, user and item: purchases of known shoppers in the first days of the month.
{{ config(materialized="view") }}
select users.month, users.user_id, lines.item_no, cast(sum(lines.n_units) as bigint) as n_units
from {{ ref("checkout_users") }} as users
inner join
    {{ ref("checkout_lines") }} as lines
    on users.user_id = lines.user_id
    and users.month = lines.month
    and lines.is_purchased
    and {{ days_between("lines.acted_on", "users.month") }} < {{ label_days() }}
group by users.month, users.user_id, lines.item_no
