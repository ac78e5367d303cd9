-- Recommendations for empty carts, one row per user and rank: ten items with reason and purchase probability.
select
    impressions.month,
    impressions.user_id,
    impressions.rank,
    catalogue.item_id,
    impressions.probability as purchase_probability,
    impressions.reason,
    users.stage
from {{ ref("checkout_impressions") }} as impressions
inner join
    {{ ref("checkout_users") }} as users on impressions.month = users.month and impressions.user_id = users.user_id
inner join {{ ref("checkout_catalogue") }} as catalogue on impressions.item_no = catalogue.item_no
