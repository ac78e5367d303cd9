-- Category shares by stage, one row per stage and leaf category: active users of the newest closed month, with the lift
-- over all users. Small counts are suppressed.
with
    members as (select distinct user_id, stage, month from {{ ref("user_stages") }}),
    observed as (
        select distinct actions.user_id, items.leaf_category
        from {{ ref("stg_actions") }} as actions
        inner join {{ ref("stg_items") }} as items on actions.item_id = items.item_id
        where
            actions.month = (select max(month) from members)
            and items.leaf_category is not null
            and actions.user_id in (select user_id from members)
    ),
    active as (select * from members where user_id in (select user_id from observed)),
    active_by_stage as (select month, stage, count(*) as n_active from active group by month, stage),
    category_shares as (
        select leaf_category, cast(count(*) as double) / (select count(distinct user_id) from active) as share_of_all
        from observed
        group by leaf_category
    ),
    users_by_category as (
        select active.stage, observed.leaf_category, count(*) as n_users
        from active
        inner join observed on active.user_id = observed.user_id
        group by active.stage, observed.leaf_category
    ),
    -- Stages without users in a category also enter complementary suppression.
    counted as (
        select
            active_by_stage.month,
            active_by_stage.stage,
            category_shares.leaf_category,
            active_by_stage.n_active,
            coalesce(users_by_category.n_users, 0) as n_users,
            cast(coalesce(users_by_category.n_users, 0) as double) / active_by_stage.n_active as share,
            category_shares.share_of_all
        from active_by_stage
        cross join category_shares
        left join
            users_by_category
            on active_by_stage.stage = users_by_category.stage
            and category_shares.leaf_category = users_by_category.leaf_category
    ),
    suppression as (
        select *, {{ is_suppressed_count("n_users", "leaf_category", "stage") }} as is_suppressed from counted
    )
select
    suppression.month,
    totals.stage_no,
    suppression.stage,
    suppression.leaf_category,
    suppression.n_users,
    suppression.share,
    {{ wilson_limits("suppression.share", "suppression.n_active", "share") }},
    suppression.share / suppression.share_of_all as lift
from suppression
inner join
    {{ ref("stage_totals") }} as totals
    on suppression.month = totals.month
    and suppression.stage = totals.stage
    and not totals.is_suppressed
where not suppression.is_suppressed
