-- Item neighbours in one shape, one row per month, measure and item pair: the nearest fifty by four measures.
{{ config(materialized="view") }}
select month, 'together' as measure, item_no, other_item_no, score
from {{ ref("checkout_cosines") }}
union all
select month, 'linear' as measure, item_no, other_item_no, score
from {{ ref("checkout_linear_weights") }}
union all
select months.month, 'alike' as measure, similar_items.item_no, similar_items.other_item_no, similar_items.score
from {{ ref("checkout_months") }} as months
cross join {{ ref("checkout_similar_items") }} as similar_items
union all
select month, 'novel' as measure, item_no, other_item_no, score
from {{ ref("checkout_novel_neighbours") }}
