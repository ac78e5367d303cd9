-- What the rows of a month came to, and a fingerprint of the clean ones, taken only of months staged anew.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "staged_months"}) }}
select
    {{ this_month() }} as month,
    count(*) as n_rows,
    count(case when reasons is null and not is_duplicate then 1 end) as n_actions,
    count(reasons) as n_rejected,
    count(case when is_duplicate then 1 end) as n_duplicates,
    max(case when reasons is null then acted_on end) as last_acted_on,
    coalesce({{ order_free_hash(action_contents(), "reasons is null and not is_duplicate") }}, 'none') as contents
from {{ ref("stg_action_rows") }}
where month = {{ this_month() }}
