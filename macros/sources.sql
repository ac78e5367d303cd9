{# Readers of the source: a directory of Parquet and CSV files, or tables of the same shape (var source_schema). #}
{% macro quoted(texts) %}
    {# SQL: the texts as literals, separated by commas. #}
    {% set literals = [] %}
    {% for text in texts %} {% do literals.append("'" ~ text | replace("'", "''") ~ "'") %} {% endfor %}
    {% do return(literals | join(", ")) %}
{% endmacro %}

{% macro source_directory() -%}
    {#- The directory of the source: absolute, without links and without a slash at its end. -#}
    {{ return(modules.life_stage.source_directory()) }}
{%- endmacro %}

{% macro action_contents() %}
    {# The columns of an action that enter content hashes. #}
    {% do return(["action_id", "user_id", "occurred_at", "action", "item_id", "search_term", "quantity"]) %}
{% endmacro %}

{% macro action_facts() %}
    {# The columns of a staged action with data of the user: null in rows of erased users and users without consent. #}
    {% set more = [
        "acted_on",
        "session_id",
        "device",
        "dwell_seconds",
        "raw_occurred_at",
        "raw_action",
        "raw_quantity",
    ] %}
    {% do return(action_contents() + more) %}
{% endmacro %}

{% macro contract_columns(table) %}
    {# The columns that models/sources.yml declares for the table: a list of nodes with name, data_type, meta. #}
    {% for node in graph.sources.values() if node.name == table and node.source_name == "shop" %}
        {% do return(node.columns.values() | list) %}
    {% endfor %}
{% endmacro %}

{% macro empty_frame(table) %}
    {# SQL: the columns of the table's contract, without rows. #}
    {% set columns = [] %}
    {% for column in contract_columns(table) %}
        {% do columns.append("cast(null as " ~ column.data_type ~ ") as " ~ column.name) %}
    {% endfor %}
    {% do return("select " ~ columns | join(", ") ~ ", cast(null as string) as source_file where false") %}
{% endmacro %}

{% macro source_rows(table, files=none) %}
    {# SQL that selects the table's raw rows, with source_file; `files` restricts it to some of the files. #}
    {% set relation = source("shop", table) %}
    {% if not execute %} {% do return("select 1") %}
    {% elif not has_source(table) %} {% do return(empty_frame(table)) %}
    {% elif setting("source_schema") %} {% do return(read_table(relation, table)) %}
    {% else %} {% do return(read_files(source_files(table) if files is none else files, table)) %}
    {% endif %}
{% endmacro %}

{% macro versions_of(files) -%}
    {#- SQL: each file's version with the validation rules: a change of either makes the file be read again. -#}
    select file, concat(version, ' {{ validation_rules() }}') as version from ({{ file_versions(files) }}) as listed
{%- endmacro %}

{% macro files_to_read(table, files) %}
    {# Files whose name, size or time is new to the inventory; items and children are read completely in every run. #}
    {% set inventory = adapter.get_relation(target.database, target.schema, "source_file_months") %}
    {% if table != "actions" or inventory is none or not files %} {% do return(files) %} {% endif %}
    {% set sql %}
        select listed.file
        from ({{ versions_of(files) }}) as listed
        left join {{ inventory }} as known on listed.file = known.file and listed.version = known.version
        where known.file is null
        order by listed.file
    {% endset %}
    {% do return(run_query(sql).columns[0].values() | list) %}
{% endmacro %}

{% macro user_id_of(column) -%}
    {#- SQL: a user's id, or its pseudonym if there is a key. A connection without that key yields null, never the id.
        -#}
    {{ pseudonym(id_of(column)) if has_id_key() else id_of(column) }}
{%- endmacro %}

{% macro id_of(column) -%}
    {#- SQL: the id as text; blanks are null. A whole number written as 123.0, as pandas does beside nulls, is 123. -#}
    nullif(
        trim(
            case
                when {{ column }} like '%.0' and try_cast({{ column }} as double) is not null
                then substr({{ column }}, 1, length({{ column }}) - 2)
                else {{ column }}
            end
        ),
        ''
    )
{%- endmacro %}
