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
    months as (select month, feature, sum(n_users) as n_of_month from counts group by month, feature),
    compared as (
        select
            months.month, months.feature, months.n_of_month, before.month as month_before, before.n_of_month as n_before
        from months
        inner join
            months as before
            on months.feature = before.feature
            and before.month = {{ months_after("months.month", -1) }}
    ),
    -- Half a shopper more in every band, so that none is empty.
    shares as (
        select
            compared.month,
            compared.feature,
            (coalesce(counts.n_users, 0) + 0.5) / (compared.n_of_month + 0.5 * known.n_bands) as share,
            (coalesce(counts_before.n_users, 0) + 0.5) / (compared.n_before + 0.5 * known.n_bands) as share_before,
            (known.n_bands - 1) * (1.0 / compared.n_of_month + 1.0 / compared.n_before) as by_chance
        from compared
        inner join
            (
                select feature, band, count(*) over (partition by feature) as n_bands from counts group by feature, band
            ) as known
            on compared.feature = known.feature
        left join
            counts on compared.month = counts.month and compared.feature = counts.feature and known.band = counts.band
        left join
            counts as counts_before
            on compared.month_before = counts_before.month
            and compared.feature = counts_before.feature
            and known.band = counts_before.band
    ),
    indices as (
        select
            month,
            feature,
            sum({{ exact("(share - share_before) * ln(share / share_before)") }}) as stability_index,
            max(by_chance) as by_chance
        from shares
        group by month, feature
    )
select
    *,
    case
        when stability_index > 0.25 + 3 * by_chance
        then 'alarm'
        when stability_index > 0.1 + 3 * by_chance
        then 'watch'
        else 'calm'
    end as level
from indices
