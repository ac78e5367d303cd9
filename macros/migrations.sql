{# Tables of an older version of the project are brought to this one by `dbt run-operation migrate_state`, on demand. #}
{% macro migrations() %}
    {# {version: the statements that make it of the version before}. A new version whenever columns or the meaning of
       stored tables change; a test holds the columns against the version. #}
    {% set of = api.Relation.create(target.database or none, target.schema) %}
    {% set counted = [
        "alter table if exists " ~ of ~ ".source_file_months add column if not exists n_rejected bigint"
    ] %}
    {% do return({2: counted + create_tombstones()}) %}
{% endmacro %}

{% macro state_version() %} {% do return(migrations().keys() | max) %} {% endmacro %}

{% macro state_version_found() %}
    {# The first version did not say so. #}
    {% do return(fingerprints_of("state").get("1970-01-01", 1) | int) %}
{% endmacro %}

{% macro migrate_state() %}
    {% do stop_on_spark("a migration") %}
    {% set found = state_version_found() if load_relation(built_months()) else 0 %}
    {% if found == 0 or found > state_version() %}
        {% do stop(
            "LS-STA-003",
            "there is nothing to migrate: the tables are " ~ ("of version " ~ found if found else "not there"),
            "name the warehouse by LIFE_STAGE_WAREHOUSE, or use the newer project",
        ) %}
    {% endif %}
    {% set all_statements = [] %}
    {% for version, statements in migrations() | dictsort if version > found %}
        {% do all_statements.extend(statements) %}
    {% endfor %}
    {% do all_statements.extend(month_unrecorded("state", "1970-01-01")) %}
    {% do run_as_one(all_statements + month_recorded("state", "1970-01-01", state_version())) %}
    {% do log("The tables were of version " ~ found ~ " and are of version " ~ state_version() ~ " now.", info=true) %}
{% endmacro %}
