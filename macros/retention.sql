{# Retention of staged actions and features, by calendar years: posteriors are recomputed from a December state.
   Months are dropped only after a complete run, so that no pending computation needs them. #}
{% macro layers() %}
    {# {layer: months to keep} of the layers with limited retention. #}
    {% set months = {
        "actions": setting("retention_actions_months"),
        "features": setting("retention_features_months"),
    } %}
    {% do return(dict(months.items() | selectattr(1))) %}
{% endmacro %}

{% macro drop_old_months(results) %}
    {# Drops months past retention, after a complete run only. #}
    {% if execute and layers() and is_whole(results) %} {% do operate("drop_old_months") %} {% endif %}
{% endmacro %}

{% macro is_whole(results) %}
    {# True if every monthly table was built and nothing failed. #}
    {% set built, wrong = [], [] %}
    {% for result in results if result.node.package_name == "life_stage" %}
        {% do (built if result.status == "success" else wrong).append(result.node.name) if result.status not in ("pass", "warn", "no-op") %}
    {% endfor %}
    {% for node in own_nodes() if node.config.materialized in ("monthly", "recursive_monthly") and node.name not in built %}
        {% do wrong.append(node.name) %}
    {% endfor %}
    {% do return(not wrong) %}
{% endmacro %}
