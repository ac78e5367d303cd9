-- Leaf categories by stage in the newest closed month: users of the stage, and the lift over all active users. Small
-- counts are suppressed.
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
    of_stages as (select month, stage, count(*) as n_active from active group by month, stage),
    of_categories as (
        select leaf_category, cast(count(*) as double) / (select count(distinct user_id) from active) as share_of_all
        from observed
        group by leaf_category
    ),
    found as (
        select active.stage, observed.leaf_category, count(*) as n_users
        from active
        inner join observed on active.user_id = observed.user_id
        group by active.stage, observed.leaf_category
    ),
    -- Zero counts belong to the suppression group too.
    counted as (
        select
            of_stages.month,
            of_stages.stage,
            of_categories.leaf_category,
            coalesce(found.n_users, 0) as n_users,
            cast(coalesce(found.n_users, 0) as double) / of_stages.n_active as share,
            of_categories.share_of_all
        from of_stages
        cross join of_categories
        left join found on of_stages.stage = found.stage and of_categories.leaf_category = found.leaf_category
    ),
    with_suppression as (
        select *, {{ is_suppressed_count("n_users", "leaf_category", "stage") }} as is_suppressed from counted
    )
select
    with_suppression.month,
    with_suppression.stage,
    with_suppression.leaf_category,
    with_suppression.n_users,
    with_suppression.share,
    with_suppression.share / with_suppression.share_of_all as lift
from with_suppression
inner join
    {{ ref("stage_totals") }} as totals
    on with_suppression.month = totals.month
    and with_suppression.stage = totals.stage
    and not totals.is_suppressed
where not with_suppression.is_suppressed
