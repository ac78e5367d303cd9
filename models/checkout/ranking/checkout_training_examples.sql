-- Ranking examples that train the rankers, one row per query and candidate item: all relevant items, and one in ten of
-- the others, drawn by the ids of the items: a new item draws no other ones. In single precision.
{{ config(materialized="monthly", meta={"months": "checkout_months_closed", "reads": {}}) }}
-- depends on: {{ ref("checkout_months") }}
select
    examples.month,
    examples.kind,
    examples.stage,
    examples.query_id,
    examples.item_no,
    {% for column in checkout_columns() %} cast(examples.{{ column }} as float) as {{ column }}, {% endfor %}
    examples.is_new,
    examples.is_relevant
from {{ ref("checkout_examples") }} as examples
inner join {{ ref("checkout_catalogue") }} as catalogue on examples.item_no = catalogue.item_no
where
    examples.month = {{ this_month() }}
    and (examples.is_relevant = 1 or {{ hash_share("concat(examples.query_id, ' ', catalogue.item_id)") }} < 0.1)
