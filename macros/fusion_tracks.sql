{# Arithmetic of dynamic_fusion: stage distributions that are shifted in time, matched and merged. #}
{% macro fusion_tracks() %}
    {# The carried state, one row per user and track: its distribution as of the month it last matched. #}
    {% set columns = {
        "user_id": "string",
        "month": "date",
        "track_no": "integer",
        "first_month": "date",
        "matched_month": "date",
        "n_fusions": "integer",
        "c_n_tracks_ever": "integer",
    } %}
    {% for name in stage_names() + ["graduated"] %} {% do columns.update({"c_" ~ name: "double"}) %} {% endfor %}
    {% do return(columns) %}
{% endmacro %}

{% macro shifted_mass(from_month, to_month, prefix, delta) -%}
    {#- SQL, equation 1: the mass in [from_month, to_month) after a shift by delta months; the mass of each stage is
        spread evenly over its months. -#}
    {%- for stage in stages() if stage.from_month < to_month -%}
        {{ prefix }}{{ stage.name }} * greatest(
            0.0,
            least({{ to_month }}, {{ stage.to_month }} + {{ delta }})
            - greatest({{ from_month }}, {{ stage.from_month }} + {{ delta }})
        )
        / {{ stage.to_month - stage.from_month }}
        {%- if not loop.last %} + {% endif -%}
    {%- endfor -%}
{%- endmacro %}

{% macro merged(name, how) -%}
    {#- SQL, equation 2: the mean of all merged months, or the product. -#}
    {% if how == "product" %} (s_{{ name }} * p_{{ name }})
    {%- else %} ((n_fusions * s_{{ name }} + p_{{ name }}) / (n_fusions + 1))
    {%- endif %}
{%- endmacro %}
