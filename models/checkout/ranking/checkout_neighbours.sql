-- Item neighbours, one row per month, measure and item pair: the nearest fifty by four measures.
{{ config(materialized="monthly", meta={"months": "checkout_months_all", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
{% set nearest = 50 %}
with
    directed_pairs as (
        select item_no, other_item_no, n_baskets
        from {{ ref("checkout_pairs") }}
        where month = {{ this_month() }}
        union all
        select other_item_no as item_no, item_no as other_item_no, n_baskets
        from {{ ref("checkout_pairs") }}
        where month = {{ this_month() }}
    ),
    items as (select * from {{ ref("checkout_items") }} where month = {{ this_month() }}),
    cosines as (
        select
            pairs.item_no,
            pairs.other_item_no,
            pairs.n_baskets / sqrt(cast(items.n_lines as double) * others.n_lines) as score
        from directed_pairs as pairs
        inner join items on pairs.item_no = items.item_no
        inner join items as others on pairs.other_item_no = others.item_no
    ),
    ranked as (
        select *, row_number() over (partition by item_no order by score desc, other_item_no) as neighbour_no
        from cosines
    )
select {{ this_month() }} as month, 'together' as measure, item_no, other_item_no, score
from ranked
where neighbour_no <= {{ nearest }}
union all
select month, 'linear' as measure, item_no, other_item_no, score
from {{ ref("checkout_linear_weights") }}
where month = {{ this_month() }}
union all
select {{ this_month() }} as month, 'alike' as measure, item_no, other_item_no, score
from {{ ref("checkout_similar_items") }}
union all
select month, 'novel' as measure, item_no, other_item_no, score
from {{ ref("checkout_novel_neighbours") }}
where month = {{ this_month() }}
