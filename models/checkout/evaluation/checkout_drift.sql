-- Drift of the shoppers, one row per month and feature: population stability index against the month before. Frequency
-- and units cover one month, because lifetime totals hardly change.
{% set bands = {
    "recency": "case when recency_days is null then 'never' when recency_days <= 30 then '30 days' when recency_days <= 90 then '90 days' when recency_days <= 180 then '180 days' else 'longer' end",
    "stage": "stage",
    "frequency": "case when n_baskets = 1 then '1' when n_baskets <= 3 then '2 to 3' else '4 or more' end",
    "units": "case when n_units <= 4 then '4 or less' when n_units <= 19 then '5 to 19' else '20 or more' end",
} %}
with
    monthly_purchases as (
        select
            {{ months_after("month", 1) }} as month,
            user_id,
            count(distinct basket_id) as n_baskets,
            sum(n_units) as n_units
        from {{ ref("checkout_lines") }}
        group by month, user_id
    ),
    -- Long recency cannot occur in the first half year of data.
    with_recency as (
        select *
        from {{ ref("checkout_users") }}
        where month > (select {{ months_after("min(month)", 6) }} from {{ ref("checkout_lines") }})
    ),
    banded as (
        {% for feature, rows in {
            "recency": "with_recency",
            "stage": ref("checkout_users"),
            "frequency": "monthly_purchases",
            "units": "monthly_purchases",
        }.items() %}
            {{ "" if loop.first else "union all" }}
            select month, '{{ feature }}' as feature, {{ bands[feature] }} as band
            from {{ rows }}
            where month in (select month from {{ ref("checkout_months") }})
        {% endfor %}
    ),
    counts as (select month, feature, band, count(*) as n_users from banded group by month, feature, band),
    months as (select distinct month, feature from counts),
    bands as (select distinct feature, band from counts),
    paired as (
        select
            months.month,
            months.feature,
            coalesce(counts.n_users, 0) as n_users,
            coalesce(counts_before.n_users, 0) as n_users_before
        from months
        inner join
            months as before
            on months.feature = before.feature
            and before.month = {{ months_after("months.month", -1) }}
        inner join bands on months.feature = bands.feature
        left join counts on months.month = counts.month and months.feature = counts.feature and bands.band = counts.band
        left join
            counts as counts_before
            on before.month = counts_before.month
            and bands.feature = counts_before.feature
            and bands.band = counts_before.band
    )
    {{ stability_levels("paired") }}
