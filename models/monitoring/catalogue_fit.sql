-- Actions on items, and those on items of the catalogue, one row per month.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "months_to_fit"}) }}
select {{ this_month() }} as month, count(*) as n_item_actions, count(items.item_id) as n_in_catalogue
from {{ ref("stg_actions") }} as actions
left join {{ ref("stg_items") }} as items on actions.item_id = items.item_id
where actions.month = {{ this_month() }} and actions.item_id is not null
