-- Scored users of a month: exactly its active users have log-likelihoods and an updated posterior.
-- Sets of users are compared by an order-free hash, which avoids a join of the whole history.
with
    active_users as (
        select month, {{ order_free_hash(["user_id"]) }} as users from {{ ref("user_months") }} group by month
    ),
    users_scored as (
        select month, {{ order_free_hash(["user_id"]) }} as users from {{ ref("stage_log_likelihoods") }} group by month
    ),
    users_updated as (
        select month, {{ order_free_hash(["user_id"]) }} as users
        from {{ ref("birth_month_filter") }}
        where last_active_month = month
        group by month
    )
select scored.month
from {{ ref("month_model_assignments") }} as scored
left join active_users on scored.month = active_users.month
left join users_scored on scored.month = users_scored.month
left join users_updated on scored.month = users_updated.month
where
    coalesce(active_users.users, 'nobody') <> coalesce(users_scored.users, 'nobody')
    or coalesce(active_users.users, 'nobody') <> coalesce(users_updated.users, 'nobody')
