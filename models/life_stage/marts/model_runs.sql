-- Run log, one row per run that published, or failed (record_failure in macros/run.sql): rows read, rejected and
-- rebuilt, and users excluded.
{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        full_refresh=false,
        meta={"always_built": true, "grows": true},
    )
}}
-- depends_on: {{ ref("stage_accuracy") }} {{ ref("stage_recall") }} {{ ref("stage_confusion") }} {{ ref("gain_over_baseline") }}
-- depends_on: {{ ref("household_accuracy") }} {{ ref("household_precision_recall") }}
-- depends_on: {{ ref("outlook_backtest") }} {{ ref("stage_calibration") }} {{ ref("experiment_readout") }} {{ ref("stg_rejected_actions") }}
-- depends_on: {{ ref("delivery_checks") }} {{ ref("source_fit") }}
-- depends_on: {{ ref("date_spine") }} {{ ref("month_drift") }} {{ ref("rejection_counts") }} {{ ref("top_stage_features") }}
-- depends_on: {{ ref("checkout_recommendations") }} {{ ref("cart_complements") }} {{ ref("item_substitutes") }} {{ ref("checkout_drift") }}
-- depends_on: {{ ref("checkout_fairness_gaps") }} {{ ref("checkout_calibration") }} {{ ref("monitor_quality") }} {{ ref("monitor_latency") }}
-- depends_on: {{ ref("answer_outcomes") }}
with
    -- Months built by an earlier unfinished run count for this one.
    months_built as (
        select model, month
        from {{ own_source("state", "build_log") }}
        {% if is_incremental() %}
            where
                built_at
                > (select coalesce(max(started_at), timestamp '1970-01-01') from {{ this }} where status = 'succeeded')
        {% endif %}
    ),
    months_staged as (
        select
            count(*) as n_months_read,
            cast(coalesce(sum(staged.n_rows), 0) as bigint) as n_rows,
            cast(coalesce(sum(staged.n_rejected), 0) as bigint) as n_rejected,
            cast(coalesce(sum(staged.n_duplicates), 0) as bigint) as n_duplicates
        from months_built
        inner join {{ ref("action_months") }} as staged on months_built.month = staged.month
        where months_built.model = 'stg_action_rows'
    ),
    months_updated as (
        select count(*) as n_months_updated from months_built where model = '{{ setting("fusion_method") }}'
    ),
    closed as (
        select max(month) as through_month, count(case when status = 'missing' then 1 end) as n_months_missing
        from {{ ref("month_calendar") }}
        where is_closed
    ),
    registrations as (
        -- A row without a user counts as one more user.
        select
            count(*) as n_rejected_registrations,
            count(distinct case when table_name = 'children' then id end)
            + count(case when table_name = 'children' and id is null then 1 end) as n_users_rejected
        from {{ ref("stg_rejected_registrations") }}
    ),
    users as (select count(distinct user_id) as n_users from {{ ref("user_stages") }}),
    users_with_posterior as (
        select count(distinct user_id) as n_users_with_posterior
        from {{ ref("user_stage_months") }}
        where month = (select max(month) from {{ ref("user_stage_months") }})
    ),
    newest_model as (
        select max(model_version) as model_version
        from {{ ref("model_registry") }}
        where trained_through = (select max(trained_through) from {{ ref("model_registry") }})
    )
select
    '{{ invocation_id }}' as run_id,
    {{ started_at() }} as started_at,
    closed.through_month,
    months_staged.n_months_read,
    months_staged.n_rows as n_rows_read,
    months_staged.n_rejected as n_rows_rejected,
    months_staged.n_duplicates as n_rows_repeated,
    case
        when {{ suppressed_if_small("registrations.n_users_rejected") }} is not null
        then registrations.n_rejected_registrations
    end as n_rejected_registrations,
    closed.n_months_missing,
    months_updated.n_months_updated,
    {{ suppressed_if_small("users.n_users") }} as n_users,
    {{ suppressed_if_small("users_with_posterior.n_users_with_posterior - users.n_users") }} as n_users_left_out,
    newest_model.model_version,
    '{{ dbt_version }}' as dbt_version,
    cast({{ seconds_so_far() }} as double) as seconds,
    'succeeded' as status,
    cast(null as string) as error_code,
    cast(null as string) as error
from months_staged
cross join months_updated
cross join closed
cross join registrations
cross join users
cross join users_with_posterior
cross join newest_model
