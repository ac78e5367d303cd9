{# Retention of staged actions and features, by calendar years: posteriors are recomputed from a December state.
   Months are dropped only after a complete run, so that no pending computation needs them. #}
{% macro layers() %}
    {# {layer: months to keep} of the layers with limited retention. #}
    {% set months = {
        "keep_actions_months": var("keep_actions_months"),
        "keep_features_months": var("keep_features_months"),
    } %}
    {% do return(dict(months.items() | selectattr(1))) %}
{% endmacro %}

{% macro retained_from(layer) %}
    {# The first month that the layer holds, as text. Earlier months are never read or recomputed. #}
    {% set recorded = input_hashes_of(layer) if execute and load_relation(build_log()) else {} %}
    {% do return(recorded.keys() | max if recorded else "0001-01-01") %}
{% endmacro %}

{% macro archived_before() %}
    {# The first month that every layer still holds, as text. #}
    {% do return([retained_from("keep_actions_months"), retained_from("keep_features_months")] | max) %}
{% endmacro %}

{% macro drop_old_months(results) %}
    {# Drops months past retention, after a complete run only. #}
    {% if execute and is_whole(results) %}
        {% for layer, n_months in layers().items() %}
            {% set newest = "select max(month) as month from " ~ target.schema ~ ".month_calendar where is_closed" %}
            {% set sql %}
                select concat(substr(cast({{ months_after("month", 1 - n_months) }} as string), 1, 4), '-01-01') as month
                from ({{ newest }}) as newest
            {% endset %}
            {% set month = run_query(sql).rows[0]["month"] %}
            {% if month is not none and month > retained_from(layer) %}
                {% do drop_months_before(month, layer) %}
            {% endif %}
        {% endfor %}
    {% endif %}
{% endmacro %}

{% macro drop_months_before(month, layer) %}
    {# Drops the months of a layer before the given one, and records the limit. #}
    {% call statement("retention") %}
        {% for node in graph.nodes.values() if node.config.get("meta", {}).get("keep") == layer %}
            {% set layer_table = adapter.get_relation(target.database, node.schema, node.alias) %}
            {% if layer_table is not none %}
                delete from {{ layer_table }}
                where month < date '{{ month }}'
                ;
            {% endif %}
        {% endfor %}
        {{ erase_unused_terms() }} {{ forget_hashes() | join(";") }}
        ;
        {{ record_month_sql(layer, month, "kept from here on") }}
    {% endcall %}
    {% do adapter.commit() %}
{% endmacro %}

{% macro is_whole(results) %}
    {# True if every monthly table was built and nothing failed. #}
    {% set built, wrong = [], [] %}
    {% for result in results %}
        {% do (built if result.status == "success" else wrong).append(result.node.name) if result.status not in ("pass", "warn", "no-op") %}
    {% endfor %}
    {% for node in graph.nodes.values() if node.config.materialized in ("monthly", "recursive_monthly") and node.name not in built %}
        {% do wrong.append(node.name) %}
    {% endfor %}
    {% do return(not wrong) %}
{% endmacro %}
