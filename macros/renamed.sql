{# Old names of vars and targets, accepted for one version with a warning. #}
{% macro renamed_vars() %}
    {# {new name: old name} of vars. #}
    {% do return({"backfill_from": "restate_from", "checkout_queries": "checkout_cases"}) %}
{% endmacro %}

{% macro value_of(name) %}
    {# The value of a var that may be set under an old name. #}
    {% set old = renamed_vars().get(name) %}
    {% set under_old_name = var(old, none) if old else none %}
    {% do return(var(name) if under_old_name is none else under_old_name) %}
{% endmacro %}

{% macro warn_of_old_names() %}
    {# Logs a notice for every old name in use. #}
    {% for name, old in renamed_vars().items() if var(old, none) is not none %}
        {% do log("LS-VAR-007 var " ~ old ~ " is called " ~ name ~ " now: use the new name", info=true) %}
    {% endfor %}
    {% if target.name == "hardened" %}
        {% do log("LS-VAR-007 target hardened is called sandboxed now: use the new name", info=true) %}
    {% endif %}
{% endmacro %}
