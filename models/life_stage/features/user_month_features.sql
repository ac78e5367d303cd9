-- The one long table that every feature flows into: on how many days of the month the user met the feature.
-- Days, not events: they hold against many clicks in one visit and against bulk buys.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "closed_months"}) }}
-- depends_on: {{ ref("month_ledger") }}
with
    item_days as (
        select distinct user_id, acted_on, action, item_id
        from {{ ref("stg_actions") }}
        where month = {{ this_month() }} and item_id is not null
    ),
    search_days as (
        select distinct user_id, acted_on, search_term
        from {{ ref("stg_actions") }}
        where month = {{ this_month() }} and search_term is not null
    ),
    feature_days as (
        select item_days.user_id, item_days.acted_on, item_features.feature
        from item_days
        inner join {{ ref("item_features") }} as item_features on item_days.item_id = item_features.item_id
        union
        -- Collecting, carting and buying say more than a click: each has a coefficient of its own.
        select item_days.user_id, item_days.acted_on, concat(item_features.feature, ':', item_days.action) as feature
        from item_days
        inner join {{ ref("item_features") }} as item_features on item_days.item_id = item_features.item_id
        where item_days.action <> 'click'
        union
        select search_days.user_id, search_days.acted_on, search_term_features.feature
        from search_days
        inner join
            {{ ref("search_term_features") }} as search_term_features
            on search_days.search_term = search_term_features.search_term
    )
select user_id, {{ this_month() }} as month, feature, count(*) as n_days
from feature_days
group by user_id, feature
