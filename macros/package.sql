{# The project as a package of a host project: its tables, its hooks, its inputs. #}
{% macro is_package() %}
    {# True in a command of a host project. #}
    {% do return(project_name != "life_stage") %}
{% endmacro %}

{% macro generate_schema_name(custom_schema_name, node) %}
    {# The schema of a node. In a host project that is schema life_stage, by the host's own rule for schemas. #}
    {% set dbts = default__generate_schema_name %}
    {% if not is_package() %} {% do return(dbts(custom_schema_name, node)) %} {% endif %}
    {% set of_host = context.get(project_name, {}).get("generate_schema_name", dbts) %}
    {% do return(of_host(custom_schema_name or "life_stage", node)) %}
{% endmacro %}

{% macro own_schema() %}
    {# The schema of this project's tables. #}
    {% if not is_package() or not execute %} {% do return(target.schema) %} {% endif %}
    {% do return(graph.nodes["model.life_stage.month_calendar"].schema) %}
{% endmacro %}

{% macro own_table(name) %}
    {# The relation of a table of this project. #}
    {% do return(api.Relation.create(target.database or none, own_schema(), name, type="table")) %}
{% endmacro %}

{% macro own_nodes() %}
    {# The nodes of this project. #}
    {% do return(graph.nodes.values() | selectattr("package_name", "equalto", "life_stage") | list) %}
{% endmacro %}

{% macro own_source(source_name, table) %}
    {# A table of the sources state and last_run. #}
    {% set relation = source(source_name, table) %}
    {% do return(relation.incorporate(path={"schema": own_schema()}) if is_package() else relation) %}
{% endmacro %}

{% macro has_own_nodes(names) %}
    {# True if one of the unique ids is of this project. #}
    {% for name in names if name.split(".")[1] == "life_stage" %} {% do return(true) %} {% endfor %}
    {% do return(false) %}
{% endmacro %}

{% macro is_checked_first() %}
    {# True if a run is checked before its first node. In a host project model host_inputs checks, once the models that it
       reads are built, so that a failed check stops no model of the host; a selection without it is checked first. #}
    {% set waits = "model.life_stage.host_inputs" in selected_resources %}
    {% do return(not is_package() or (has_own_nodes(selected_resources) and not waits)) %}
{% endmacro %}

{% macro start_run() %}
    {# Hook before a run. In a host project it does nothing for a command without a node of this project. #}
    {% for table in ["actions", "items", "children", "consents"] if not execute and input_model(table) %}
        {% do source_table(table) %}  {# dbt wants to know what the checks read #}
    {% endfor %}
    {% if is_package() and execute and has_own_nodes(selected_resources) %}
        {% do fail_on_spark("a host project") %} {% do modules.life_stage.attach(adapter) %}
    {% endif %}
    {% if is_checked_first() %} {% do check_before_run() %} {% endif %}
{% endmacro %}

{% macro end_run(results) %}
    {# Hook after a run. In a host project only after a run that began with its checks. #}
    {% set checked = [not execute or is_checked_first()] %}
    {% for result in results if result.node.unique_id == "model.life_stage.host_inputs" %}
        {% do checked.append(result.status == "success") %}
    {% endfor %}
    {% if checked | select | list %} {% do finish_run(results) %} {% endif %}
{% endmacro %}

{% macro after_checks() %}
    {# A reference that lets a model without parents wait for the checks of a host's run. #}
    {% if is_package() %} {% do ref("host_inputs") %} {% endif %}
{% endmacro %}

{% macro in_utc() -%}
    {#- SQL: the time zone of the session, in which texts without an offset are read; profiles.yml sets it elsewhere. A
        transaction that it began would not see the table that a Python model writes. -#}
    {{ "set TimeZone = 'UTC'" if is_package() and model.language == "sql" }}
{%- endmacro %}

{% macro input_model(table) %}
    {# The model that var source_<table> names; empty: none. #}
    {% set refs = {
        "actions": setting("source_actions"),
        "items": setting("source_items"),
        "children": setting("source_children"),
        "consents": setting("source_consents"),
    } %}
    {% do return(modules.life_stage.model_of_ref(refs.get(table))) %}
{% endmacro %}

{% macro source_table(table) %}
    {# The relation of a table of the source: the model of var source_<table>, else the source's own. #}
    {% set model_name = input_model(table) %}
    {% do after_checks() if this is defined and this and this.identifier != "host_inputs" %}
    {% do return(ref(project_name, model_name) if model_name else source("shop", table)) %}
{% endmacro %}

{% macro reads_models() %}
    {# True if the source are models. #}
    {% do return(input_model("actions") != "") %}
{% endmacro %}

{% macro reads_tables() %}
    {# True if the source are models, or tables of var source_schema. #}
    {% do return(reads_models() or setting("source_schema") != "") %}
{% endmacro %}
