{# State of the project in the warehouse: build_log (months), project_state (settings, limits), and their version. #}
{% macro build_log() %}
    {# The table of the input hash of every month of every monthly table. #}
    {% do return(own_table("build_log")) %}
{% endmacro %}

{% macro create_build_log() %}
    {# SQL: creates the build log. A record is written in the same transaction as its month. #}
    {% set columns = "model string, month date, input_hash string, run_id string, built_at timestamp" %}
    {% do return(
        "create table if not exists "
        ~ build_log()
        ~ " ("
        ~ columns
        ~ ")"
        ~ partitioned_by_month("model, month")
    ) %}
{% endmacro %}

{% macro input_hashes_of(model_name) %}
    {# {month: input hash} of the months that the table holds. #}
    {% set built = {} %}
    {% set sql = "select month, input_hash from " ~ build_log() ~ " where model= '" ~ model_name ~ "'" %}
    {% for row in run_query(sql).rows %} {% do built.update({row["month"] | string: row["input_hash"]}) %} {% endfor %}
    {% do return(built) %}
{% endmacro %}

{% macro project_state() %}
    {# The table of facts about the warehouse, one row per key: state_version, settings, clock, source_schema, source_path,
       source_real_path, consents, revocations, ledger (see python/life_stage/engine/ledger.py), first_actions_month,
       first_features_month, and the unfinished pass of a recursive model. #}
    {% do return(own_table("project_state")) %}
{% endmacro %}

{% macro create_project_state() %}
    {# SQL: creates the table of facts. #}
    {% set columns = " (key string, value string)" %}
    {% do return("create table if not exists " ~ project_state() ~ columns ~ partitioned_by_month("key")) %}
{% endmacro %}

{% macro state_of(key) %}
    {# The recorded value, as text; none without one. #}
    {% if not execute or load_relation(project_state()) is none %} {% do return(none) %} {% endif %}
    {% set sql = "select value from " ~ project_state() ~ " where key = '" ~ key ~ "'" %}
    {% do return(run_query(sql).columns[0].values() | first | default(none)) %}
{% endmacro %}

{% macro retained_from(layer) %}
    {# The first month that retention has left of the layer (actions, features), as text. Earlier months are never read
       or recomputed. #}
    {% do return(state_of("first_" ~ layer ~ "_month") or "0001-01-01") %}
{% endmacro %}

{% macro archived_before() %}
    {# The first month that every layer still holds, as text. #}
    {% do return([retained_from("actions"), retained_from("features")] | max) %}
{% endmacro %}

{% macro state_version() %}
    {# The version of the stored tables that this project reads and writes. #}
    {% do return(11) %}
{% endmacro %}

{% macro state_version_found() %}
    {# The version of the stored tables; 0: none. Version 1 did not record itself. #}
    {% if load_relation(project_state()) %} {% do return((state_of("state_version") or 0) | int) %} {% endif %}
    {# Versions 1 to 6 recorded it in the log of months. A log without it has lost its project_state. #}
    {% for log, hash, unrecorded in [
        ["build_log", "input_hash", state_version()],
        ["built_months", "fingerprint", 1],
    ] %}
        {% set before = load_relation(own_table(log)) %}
        {% if before is not none %}
            {% set sql = "select max(" ~ hash ~ ") as version from " ~ before ~ " where model= 'state'" %}
            {% do return((run_query(sql).rows[0]["version"] or unrecorded) | int) %}
        {% endif %}
    {% endfor %}
    {% do return(0) %}
{% endmacro %}
