-- Feature drift of each month since the newest model, one row per month and feature group. The reference is the last
-- year of its training period.
{{ config(materialized="view") }}
{% set models = existing(own_source("last_run", "stage_coefficients")) %}
with
    newest as (
        select max(known.trained_through) as trained_through
        from
            (
                select trained_through
                from {{ models or "(select cast(null as date) as trained_through) as no_models" }}
            ) as known
        having max(known.trained_through) < (select max(month) from {{ ref("month_calendar") }} where is_closed)
    ),
    counts as (
        select
            features.month,
            features.month > newest.trained_through as is_since,
            substr(features.feature, 1, instr(features.feature, '=') - 1) as family,
            features.feature,
            count(*) as n_users
        from {{ ref("user_month_features") }} as features
        inner join newest on features.month > {{ months_after("newest.trained_through", -12) }}
        where features.n_days is not null and features.feature like '%=%'
        group by features.month, newest.trained_through, features.feature
    ),
    months as (select distinct month, family from counts where is_since),
    bands as (
        select family, feature, sum(case when is_since then 0 else n_users end) as n_users_before
        from counts
        group by family, feature
    ),
    paired as (
        select months.month, months.family as feature, coalesce(counts.n_users, 0) as n_users, bands.n_users_before
        from months
        inner join bands on months.family = bands.family
        left join counts on months.month = counts.month and bands.feature = counts.feature
    )
    {{ stability_levels("paired") }}
