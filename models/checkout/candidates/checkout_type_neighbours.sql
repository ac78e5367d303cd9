-- Product types seen in the same visits, one row per month, type and other type: the share of the other one.
{{ config(materialized="monthly", meta={"months": "checkout_months_all", "reads": {"checkout_type_pairs": "before"}}) }}
-- depends on: {{ ref("checkout_months") }}
with
    pairs as (
        select type_no, other_type_no, sum(n_pairs) as n_pairs
        from {{ ref("checkout_type_pairs") }}
        where month < {{ this_month() }}
        group by type_no, other_type_no
    )
select
    {{ this_month() }} as month,
    type_no,
    other_type_no,
    n_pairs / (sum(n_pairs) over (partition by type_no) + 20.0) as share
from pairs
