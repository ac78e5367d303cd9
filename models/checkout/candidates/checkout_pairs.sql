-- Co-purchase counts, one row per month and item pair. Input of all basket models.
{{ config(materialized="monthly", meta={"months": "checkout_months_all", "reads": {"checkout_lines": "before"}}) }}
-- depends on: {{ ref("checkout_months") }}
select {{ this_month() }} as month, item_no, other_item_no, count(*) as n_baskets
from ({{ pairs_in_baskets(ref("checkout_lines")) }}) as of_baskets
where month < {{ this_month() }}
group by item_no, other_item_no
having count(*) >= {{ min_support() }}
