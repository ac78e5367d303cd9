{# Household readout: its terms, and the shape of its weights (python/life_stage/readout/households.py). #}
{% macro presence_terms() %}
    {# Columns of presence_filter that are terms of the readout, with weights by the first child's stage. #}
    {% set terms = [] %}
    {% for name in stage_names() + ["not_yet", "aged_out"] %} {% do terms.append("presence_" ~ name) %} {% endfor %}
    {% do return(terms) %}
{% endmacro %}

{% macro household_terms() %}
    {# {term: SQL} of the household readout, from columns of household_terms. #}
    {% set terms = {"constant": "1.0"} %}
    {% for name in presence_terms() %} {% do terms.update({name: name}) %} {% endfor %}
    {% for name in stage_names() %}
        {% set share = "greatest(least(share_" ~ name ~ ", 0.999999), 0.000001)" %}
        {% do terms.update({"logit_" ~ name: "ln(" ~ share ~ " / (1 - " ~ share ~ "))"}) %}
    {% endfor %}
    {% for name in ["log_active_months", "tenure_months", "not_yet_expecting_probability"] %}
        {% do terms.update({name: name}) %}
    {% endfor %}
    {% do return(terms) %}
{% endmacro %}

{% macro states_outside() %}
    {# States of a child outside the stages; each has a published probability p_<state>. #}
    {% do return(["no_child", "not_expecting", "aged_out"]) %}
{% endmacro %}

{% macro may_be_published(is_born) -%}
    {#- SQL: true for a child that is born or in a stage before birth, of a user with enough active months. -#}
    months_of_evidence >= {{ setting("marts_min_evidence") }}
    and ({{ is_born }} or stage in ({{ quoted(prenatal_stages()) }}))
{%- endmacro %}

{% macro confidence(probability, is_stale) -%}
    {#- SQL: the confidence of a published probability; one level lower if the user is stale. -#}
    case
        when {{ probability }} >= 0.9 and not {{ is_stale }}
        then 'high'
        when {{ probability }} >= 0.9 or ({{ probability }} >= 0.6 and not {{ is_stale }})
        then 'medium'
        else 'low'
    end
{%- endmacro %}

{% macro pregnancy_months() %}
    {# Months between two births of a household, except twins. #}
    {% do return(9) %}
{% endmacro %}

{% macro is_same_child(one, other, at) -%}
    {#- SQL: true if two birth months are that of one child: less than a pregnancy apart, or less than half of the
        stage of either at the date `at`. -#}
    abs({{ months_between(one, other) }}) < greatest(
        {{ pregnancy_months() }},
        least({{ half_stage(months_between(at, one)) }}, {{ half_stage(months_between(at, other)) }})
    )
{%- endmacro %}

{% macro half_stage(age) -%}
    {#- SQL: half the length in months of the stage at an age; beyond the stages that of the nearest one. -#}
    case
        {%- for stage in stages()[:-1] %}
            when {{ age }} < {{ stage.to_month }} then {{ (stage.to_month - stage.from_month) / 2 }}
        {%- endfor %}
        else {{ (stages()[-1].to_month - stages()[-1].from_month) / 2 }}
    end
{%- endmacro %}

{% macro household_figures() %}
    {# Numeric columns of household_weights: shares, then a weight per stage and term. #}
    {% set columns = ["childless_share", "childless_share_error"] %}
    {% for stage in stage_names() %} {% do columns.append("registered_late_" ~ stage) %} {% endfor %}
    {% for stage in stage_names() %}
        {% for term in household_terms() %} {% do columns.append(stage ~ "_" ~ term) %} {% endfor %}
    {% endfor %}
    {% do return(columns) %}
{% endmacro %}
