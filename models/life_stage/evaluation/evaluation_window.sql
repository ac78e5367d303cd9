-- Evaluation window, one row per month: the six newest closed months, or those from var evaluation_from on.
{{ config(materialized="view") }}
select month
from {{ ref("month_calendar") }}
where
    is_closed and month >= {% if var("evaluation_from") %} date '{{ var("evaluation_from") }}-01'
    {% else %} (select {{ months_after("max(month)", -5) }} from {{ ref("month_calendar") }} where is_closed)
    {% endif %}
