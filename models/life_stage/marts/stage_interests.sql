-- What each stage shops for: how many of its active users met a leaf category in the newest closed month, beside the
-- share of all active users who did. Counts that could point at few people are left out.
with
    members as (select distinct user_id, stage, month from {{ ref("user_stages") }}),
    met as (
        select distinct actions.user_id, items.leaf_category
        from {{ ref("stg_actions") }} as actions
        inner join {{ ref("stg_items") }} as items on actions.item_id = items.item_id
        where
            actions.month = (select max(month) from members)
            and items.leaf_category is not null
            and actions.user_id in (select user_id from members)
    ),
    active as (select * from members where user_id in (select user_id from met)),
    of_stages as (select month, stage, count(*) as n_active from active group by month, stage),
    of_categories as (
        select leaf_category, cast(count(*) as double) / (select count(distinct user_id) from active) as share_of_all
        from met
        group by leaf_category
    ),
    found as (
        select active.stage, met.leaf_category, count(*) as n_users
        from active
        inner join met on active.user_id = met.user_id
        group by active.stage, met.leaf_category
    ),
    -- Stages that never met a category are counts of the group too.
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
    hidden as (select *, {{ is_small_cell("n_users", "leaf_category", "stage") }} as is_suppressed from counted)
select
    hidden.month,
    hidden.stage,
    hidden.leaf_category,
    hidden.n_users,
    hidden.share,
    hidden.share / hidden.share_of_all as lift
from hidden
inner join
    {{ ref("stage_totals") }} as totals
    on hidden.month = totals.month
    and hidden.stage = totals.stage
    and not totals.is_suppressed
where not hidden.is_suppressed
