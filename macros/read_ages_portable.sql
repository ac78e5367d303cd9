{# The two things the age reader needs that DuckDB and Spark spell differently. #}

{% macro row_per_element(list) -%}
    {% if target.type == "spark" %} explode({{ list }}) {% else %} unnest({{ list }}) {% endif %}
{%- endmacro %}

{% macro replace_every(text, pattern, replacement) -%}
    {%- set every = "" if target.type == "spark" else ", 'g'" -%}
    regexp_replace({{ text }}, '{{ pattern }}', '{{ replacement }}'{{ every }})
{%- endmacro %}
