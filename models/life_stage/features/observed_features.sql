-- Observed features, one row per action and feature of its item or search term, with the day as a bit: counting bits is
-- cheaper than counting distinct days. Read one month at a time.
{{ config(materialized="view") }}
select
    actions.month,
    actions.action_id,
    actions.user_id,
    features.group_id,
    features.feature_id,
    cast(power(2, day(actions.acted_on) - 1) as integer) as day_bit
from {{ ref("stg_actions") }} as actions
inner join
    {{ ref("item_feature_index") }} as features
    on actions.item_id = features.item_id
    and actions.month between features.valid_from_month and features.valid_to_month
    and features.action = ''
union all
select
    actions.month,
    actions.action_id,
    actions.user_id,
    features.group_id,
    features.feature_id,
    cast(power(2, day(actions.acted_on) - 1) as integer) as day_bit
from {{ ref("stg_actions") }} as actions
inner join
    {{ ref("item_feature_index") }} as features
    on actions.item_id = features.item_id
    and actions.month between features.valid_from_month and features.valid_to_month
    and actions.action = features.action
union all
select
    actions.month,
    actions.action_id,
    actions.user_id,
    -- All searches are one group.
    0 as group_id,
    features.feature_id,
    cast(power(2, day(actions.acted_on) - 1) as integer) as day_bit
from {{ ref("stg_actions") }} as actions
inner join {{ ref("term_feature_index") }} as features on actions.search_term = features.search_term
