-- Co-purchase cosines, one row per month and item pair: the fifty nearest items of every item.
{{ config(materialized="monthly", meta={"months": "checkout_months_all", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
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
select {{ this_month() }} as month, item_no, other_item_no, score
from ranked
where neighbour_no <= 50
