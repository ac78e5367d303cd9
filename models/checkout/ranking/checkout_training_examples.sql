-- Ranking examples that train the rankers, one row per query and candidate item: all relevant items, and one in ten of
-- the others, as in TRAINING_ROWS of python/life_stage_checkout/ranker.py. In single precision.
{{ config(materialized="monthly", meta={"months": "checkout_months_closed", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
select
    month,
    kind,
    stage,
    query_id,
    item_no,
    {% for column in checkout_columns() %} cast({{ column }} as float) as {{ column }}, {% endfor %}
    is_new,
    is_relevant
from {{ ref("checkout_examples") }}
where month = {{ this_month() }} and (is_relevant = 1 or (query_id * 7919 + item_no) % 10 = 0)
