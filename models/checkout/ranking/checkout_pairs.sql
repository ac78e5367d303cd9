-- Which items lie in one basket, and how often: what every model of baskets is computed from.
with
    baskets as (
        select month, basket_id, item_no, count(*) over (partition by month, basket_id) as n_lines
        from {{ ref("checkout_lines") }}
    ),
    pairs as (
        select one.month, one.item_no, another.item_no as other_item_no, count(*) as n_baskets
        from baskets as one
        inner join
            baskets as another
            on one.month = another.month
            and one.basket_id = another.basket_id
            and one.item_no < another.item_no
        -- A wholesaler's basket says little and costs the square of its length.
        where one.n_lines <= 100
        group by one.month, one.item_no, another.item_no
    )
select months.month, pairs.item_no, pairs.other_item_no, cast(sum(pairs.n_baskets) as bigint) as n_baskets
from pairs
inner join {{ ref("checkout_months") }} as months on pairs.month < months.month
group by months.month, pairs.item_no, pairs.other_item_no
having sum(pairs.n_baskets) >= {{ var("checkout_min_support") }}
