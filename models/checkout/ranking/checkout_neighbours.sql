-- Item neighbours, one row per month, measure and item pair: the nearest fifty by four measures.
{% set nearest = 50 %}
with
    directed_pairs as (
        select month, item_no, other_item_no, n_baskets
        from {{ ref("checkout_pairs") }}
        union all
        select month, other_item_no as item_no, item_no as other_item_no, n_baskets
        from {{ ref("checkout_pairs") }}
    ),
    cosines as (
        select
            pairs.month,
            pairs.item_no,
            pairs.other_item_no,
            pairs.n_baskets / sqrt(cast(items.n_lines as double) * others.n_lines) as score
        from directed_pairs as pairs
        inner join {{ ref("checkout_items") }} as items on pairs.month = items.month and pairs.item_no = items.item_no
        inner join
            {{ ref("checkout_items") }} as others on pairs.month = others.month and pairs.other_item_no = others.item_no
    ),
    ranked as (
        select *, row_number() over (partition by month, item_no order by score desc, other_item_no) as neighbour_no
        from cosines
    )
select month, 'together' as measure, item_no, other_item_no, score
from ranked
where neighbour_no <= {{ nearest }}
union all
select month, 'linear' as measure, item_no, other_item_no, score
from {{ ref("checkout_linear_weights") }}
union all
select items.month, alike.measure, alike.item_no, alike.other_item_no, alike.score
from {{ ref("checkout_similar_items") }} as alike
inner join {{ ref("checkout_items") }} as items on alike.other_item_no = items.item_no
where alike.measure = 'alike' or items.is_new
