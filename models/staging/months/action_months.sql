-- Row counts and content hash of the actions, one row per month. Computed only for months that were restaged.
{{ config(materialized="monthly", full_refresh=false, meta={"months": "staged_months"}) }}
with
    counted as (
        select
            count(*) as n_rows,
            count(case when reasons is null and not is_duplicate then 1 end) as n_actions,
            count(reasons) as n_rejected,
            count(case when is_duplicate then 1 end) as n_duplicates,
            count(case when is_conflicting then 1 end) as n_conflicting,
            max(case when reasons is null then acted_on end) as last_acted_on,
            {{ order_free_hash(action_contents(), "reasons is null and not is_duplicate") }} as content_hash
        from {{ ref("stg_action_rows") }}
        where month = {{ this_month() }}
    ),
    -- Rows of erased users still count, so that an erasure triggers no rebuild.
    hashed_parts as (
        select last_acted_on, content_hash
        from counted
        union all
        select last_acted_on, content_hash
        from {{ own_source("state", "erased_action_hashes") }}
        where month = {{ this_month() }}
    ),
    hashed as (
        select
            max(last_acted_on) as last_acted_on, coalesce({{ sum_of_hashes("content_hash") }}, 'none') as content_hash
        from hashed_parts
    )
select
    {{ this_month() }} as month,
    counted.n_rows,
    counted.n_actions,
    counted.n_rejected,
    counted.n_duplicates,
    counted.n_conflicting,
    hashed.last_acted_on,
    hashed.content_hash
from counted
cross join hashed
