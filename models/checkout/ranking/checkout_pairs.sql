-- Co-purchase counts, one row per month and item pair. Input of all basket models.
with
    pairs as (
        select month, item_no, other_item_no, count(*) as n_baskets
        from ({{ pairs_in_baskets(ref("checkout_lines")) }}) as of_baskets
        group by month, item_no, other_item_no
    )
select months.month, pairs.item_no, pairs.other_item_no, cast(sum(pairs.n_baskets) as bigint) as n_baskets
from pairs
inner join {{ ref("checkout_months") }} as months on pairs.month < months.month
group by months.month, pairs.item_no, pairs.other_item_no
having sum(pairs.n_baskets) >= {{ var("checkout_min_support") }}
