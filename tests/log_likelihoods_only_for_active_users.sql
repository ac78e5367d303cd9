-- In every scored month the active users, and they alone, have evidence and are believed to be active.
-- Sets of users are compared by an order-free fingerprint: no join of the history with itself.
with
    active_users as (
        select month, {{ order_free_hash(["user_id"]) }} as users from {{ ref("user_months") }} group by month
    ),
    users_with_evidence as (
        select month, {{ order_free_hash(["user_id"]) }} as users from {{ ref("stage_log_likelihoods") }} group by month
    ),
    users_believed_active as (
        select month, {{ order_free_hash(["user_id"]) }} as users
        from {{ ref("birth_month_filter") }}
        where last_active_month = month
        group by month
    )
select scored.month
from {{ ref("month_model_assignments") }} as scored
left join active_users on scored.month = active_users.month
left join users_with_evidence on scored.month = users_with_evidence.month
left join users_believed_active on scored.month = users_believed_active.month
where
    coalesce(active_users.users, 'nobody') <> coalesce(users_with_evidence.users, 'nobody')
    or coalesce(active_users.users, 'nobody') <> coalesce(users_believed_active.users, 'nobody')
