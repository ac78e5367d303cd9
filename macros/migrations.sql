{# Tables of an older version of the project are brought to this one by `dbt run-operation migrate_state`, on demand. #}
{% macro migrations() %}
    {# {version: the statements that make it of the version before}. A new version whenever columns or the meaning of
       stored tables change; a test holds the columns against the version. #}
    {% set of = api.Relation.create(target.database, target.schema) %}
    {% do return(
        {2: ["alter table " ~ of ~ ".source_file_months add column n_rejected bigint", create_tombstones()]}
    ) %}
{% endmacro %}

{% macro state_version() %} {% do return(migrations().keys() | max) %} {% endmacro %}

{% macro state_version_found() %}
    {# The first version did not say so. #}
    {% do return(fingerprints_of("state").get("1970-01-01", 1) | int) %}
{% endmacro %}

{% macro migrate_state() %}
    {% set found = state_version_found() %}
    {% call statement("migrate") %}
        {% for version, statements in migrations() | dictsort if version > found %}
            {{ statements | join("; ") }}
            ;
        {% endfor %}
        {{ record_month("state", "1970-01-01", state_version()) }}
    {% endcall %}
    {% do adapter.commit() %}
    {% do log("The tables were of version " ~ found ~ " and are of version " ~ state_version() ~ " now.", info=true) %}
{% endmacro %}
