{# The arithmetic of the birth-month filter: the carried state and its columns. #}
{% macro birth_month_state() %}
    {# One row per user: the running sum of evidence for every birth month, by the age it means this month. #}
    {% set columns = {
        "user_id": "string",
        "month": "date",
        "first_month": "date",
        "last_active_month": "date",
        "months_of_evidence": "integer",
    } %}
    {% for cell in cells() %} {% do columns.update({"c_" ~ cell: "double"}) %} {% endfor %}
    {% do return(columns) %}
{% endmacro %}

{% macro exact(expression) -%}
    {#- A multiple of 2^-36: sums of such numbers are exact in double, so the same in any order. -#}
    (round(({{ expression }}) * 68719476736.0) / 68719476736.0)
{%- endmacro %}
