-- What each stage shops for: in how many of its active users' baskets, clicks and collections of the newest closed
-- month a
-- leaf category was, beside how many of all active users met it. Small cells are left out.
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
    active as (select members.* from members where user_id in (select user_id from met)),
    counted as (
        select active.month, active.stage, met.leaf_category, count(*) as n_users
        from active
        inner join met on active.user_id = met.user_id
        group by active.month, active.stage, met.leaf_category
    ),
    of_stages as (select stage, count(*) as n_active from active group by stage),
    of_categories as (
        select leaf_category, count(*) * 1.0 / (select count(distinct user_id) from active) as share_of_all
        from met
        group by leaf_category
    ),
    shares as (
        select
            counted.*,
            counted.n_users * 1.0 / of_stages.n_active as share,
            counted.n_users * 1.0 / of_stages.n_active / of_categories.share_of_all as lift,
            {{ is_small_cell("counted.n_users", "counted.leaf_category", "counted.stage") }} as is_suppressed
        from counted
        inner join of_stages on counted.stage = of_stages.stage
        inner join of_categories on counted.leaf_category = of_categories.leaf_category
    )
select month, stage, leaf_category, n_users, share, lift
from shares
where not is_suppressed
