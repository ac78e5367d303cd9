-- Whether shoppers change: how far they lie, band by band, from those of the month before (population stability index).
{% set bands = {
    "recency": "case when recency_days is null then 'never' when recency_days <= 30 then '30 days' when recency_days <= 90 then '90 days' when recency_days <= 180 then '180 days' else 'longer' end",
    "frequency": "case when n_baskets = 0 then '0' when n_baskets <= 2 then '1 to 2' when n_baskets <= 9 then '3 to 9' else '10 or more' end",
    "units": "case when n_units = 0 then '0' when n_units <= 4 then '1 to 4' when n_units <= 19 then '5 to 19' else '20 or more' end",
    "stage": "stage",
} %}
with
    banded as (
        {% for feature, band in bands.items() %}
            {{ "" if loop.first else "union all" }}
            select month, '{{ feature }}' as feature, {{ band }} as band
            from {{ ref("checkout_users") }}
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
