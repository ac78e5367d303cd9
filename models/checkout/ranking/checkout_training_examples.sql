-- Ranking examples that train the rankers, one row per query and candidate item: all relevant items, and one in ten of
-- the others. In single precision. Tuning reads all examples and repeats the condition (TRAINING_ROWS in ranker.py).
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
