-- What to show each shopper whose cart is still empty: ten items, why, and how probable it is that one is bought soon.
select
    shown.month,
    shown.user_id,
    shown.place,
    catalogue.item_id,
    shown.probability as purchase_probability,
    shown.reason,
    users.stage
from {{ ref("checkout_shown") }} as shown
inner join {{ ref("checkout_users") }} as users on shown.month = users.month and shown.user_id = users.user_id
inner join {{ ref("checkout_catalogue") }} as catalogue on shown.item_no = catalogue.item_no
