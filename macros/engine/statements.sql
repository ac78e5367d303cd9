{# Files, tables, months and transactions: on DuckDB here, on Spark in spark.sql. #}
{% macro tables_there(schema) %}
    {# The names of the tables in the catalogue, without dbt's cache; on Spark views are included. #}
    {% if target.type == "spark" %}
        {% do return(run_query("show tables in " ~ schema).columns["tableName"].values() | list) %}
    {% endif %}
    {% set sql = (
        "select table_name from information_schema.tables where table_type = 'BASE TABLE' and table_schema = '"
        ~ schema
        ~ "'"
    ) %}
    {% do return(run_query(sql).columns["table_name"].values() | list) %}
{% endmacro %}

{% macro skips_unchanged() %}
    {# True if the engine has the materializations of unchanged.sql. #}
    {% do return(target.type == "duckdb") %}
{% endmacro %}

{% macro output_hashes(nodes) %}
    {# SQL: the hash of the contents of these nodes, and that of the project, from python/life_stage/engine/unchanged_nodes.py.
       #}
    {% set months %}
        select model as node, md5(string_agg(concat(month, input_hash), ' ' order by month)) as output_hash
        from {{ build_log() }}
        where model in ({{ quoted(nodes) }})
        group by model
    {% endset %}
    {% set tables %}
        select node, output_hash
        from {{ node_hashes() }}
        where node in ({{ quoted(nodes) }}) and node not in (select model from {{ build_log() }})
    {% endset %}
    {% do return([tables, months, "select 'project', getvariable('project_digest')"] | join(" union all ")) %}
{% endmacro %}

{% macro contents_hash(relation) %}
    {# SQL: number of rows and a hash of them in any order. #}
    {% do return(
        "select concat(count(*), ' ', sum(cast(hash(contents) as hugeint))) as contents from "
        ~ relation
        ~ " as contents"
    ) %}
{% endmacro %}

{% macro fail_on_spark(what) %}
    {# Fails on Spark, so that no run silently omits an unsupported feature. #}
    {% if target.type == "spark" %}
        {% do fail("LS-SPA-001", what ~ " is not supported on Spark", "do without it, or use the target duckdb") %}
    {% endif %}
{% endmacro %}

{% macro source_files(table) %}
    {# Names, within the source, of the data files of one table: <table>/ with all its folders, or <table>.parquet,
       <table>.csv. Fails on a file that is neither Parquet nor CSV. #}
    {% if target.type == "spark" %} {% do return(spark_source_files(table)) %} {% endif %}
    {% set files, wrong = modules.life_stage.source_files(table) %}
    {% do fail_all(wrong) %} {% do return(files) %}
{% endmacro %}

{% macro files_in_folders_like(table) %}
    {# Files of folders whose names begin like a table's, such as Spark's consents.parquet, which are never read. #}
    {% do return([] if target.type == "spark" else modules.life_stage.files_in_folders_like(table)) %}
{% endmacro %}

{% macro file_versions(files) -%}
    {#- SQL: size and modification time of each file, as its version. -#}
    {%- if target.type == "spark" -%} {{ return(spark_file_versions(files)) }} {%- endif -%}
    {%- set rows = ["(cast(null as string), cast(null as string))"] -%}
    {%- for file in modules.life_stage.file_versions(files).items() -%}
        {%- do rows.append("(" ~ quoted(file) ~ ")") -%}
    {%- endfor -%}
    select file, version
    from (values {{ rows | join(", ") }}) as listed(file, version)
    where file is not null
{%- endmacro %}

{% macro read_files(files, table, is_in_contract=true) -%}
    {#- SQL: the rows of a table's files, by its mapping, with source_file; is_in_contract: with the columns of the
        contract, absent ones null. -#}
    {%- if target.type == "spark" -%} {{ return(spark_read_files(files, table, is_in_contract)) }} {%- endif -%}
    {%- set parts = [] -%}
    {%- for part in modules.life_stage.delivered(table, files) -%}
        {%- set is_typed = is_in_contract and part.types != {} -%}
        {%- do parts.append(
            in_contract("(" ~ part.rows ~ ")", table, part.types, part.source_file)
            if is_typed
            else part.rows
        ) -%}
    {%- endfor -%}
    {{ parts | join(" union all by name ") or empty_frame(table) }}
{%- endmacro %}

{% macro files_of_other_columns(files) %}
    {# The first of the files with the same columns, of which there may be thousands; on Spark all files. #}
    {% if target.type == "spark" %} {% do return(files) %} {% endif %}
    {% do return(modules.life_stage.file_groups(files) | map(attribute="files") | map("first") | list) %}
{% endmacro %}

{% macro run_as_one(statements, checked="") %}
    {# Runs the statements, in one transaction on DuckDB. Spark has none: there any order must survive a kill. checked:
       the condition of the new rows that check_output judges before the commit. #}
    {% if target.type == "spark" %} {% do spark_run(statements) %}
    {% elif statements %}
        {% call statement("all") %} {{ statements | join(";\n") }}
        {% endcall %}
        {% if checked %} {% do check_output(this, checked) %}
        {% endif %}
        {% do adapter.commit() %}
    {% endif %}
{% endmacro %}

{% macro commit_so_far() %}
    {# Commits the open transaction on DuckDB. #}
    {% if target.type == "duckdb" %} {% do adapter.commit() %} {% endif %}
{% endmacro %}

{% macro partitioned_by_month(columns="month") -%}
    {#- SQL: the storage clause of a monthly table. -#}
    {{ return(" using parquet partitioned by (" ~ columns ~ ")" if target.type == "spark" else "") }}
{%- endmacro %}

{% macro runs_python_in_batches() %}
    {# True on DuckDB, where a recursive model can be one pass over batches of users (filter_pass.sql). #}
    {% do return(target.type == "duckdb") %}
{% endmacro %}

{% macro months_without_rows(relation, sql) -%}
    {#- SQL that creates a table of months with the columns of a query. -#}
    {%- set no_rows = "select * from (" ~ sql ~ ") as months where false" -%}
    {%- if spark_partitions(relation) -%}
        {{ return("create table " ~ relation ~ partitioned_by_month() ~ " as " ~ no_rows) }}
    {%- endif -%}
    {{ return(create_table_as(false, relation, no_rows)) }}
{%- endmacro %}

{% macro create_step(relation, sql) %}
    {# SQL that creates a step table. It has columns of the state that the contract of a model does not list. #}
    {% do return("create table " ~ relation ~ (" using parquet" if target.type == "spark" else "") ~ " as " ~ sql) %}
{% endmacro %}

{% macro fill_month(relation, month, sql) %}
    {# Statements that replace the month of a table by the rows of the query. #}
    {% if target.type == "spark" %} {% do return(spark_fill_month(relation, month, sql)) %} {% endif %}
    {% do return(empty_month(relation, month) + ["insert into " ~ relation ~ " by name " ~ sql]) %}
{% endmacro %}

{% macro put_rows(relation, key, sql) %}
    {# Writes the rows of the query in place of those with their keys, into a table that need not exist. #}
    {% if existing(relation) is none %} {% do run_as_one([create_step(relation, sql)]) %}
    {% elif target.type == "spark" %} {% do spark_put_rows(relation, key, sql) %}
    {% else %}
        {% set replaced = "delete from " ~ relation ~ " where " ~ key ~ " in (select " ~ key ~ " from (" ~ sql ~ "))" %}
        {% do run_as_one([replaced, "insert into " ~ relation ~ " by name " ~ sql]) %}
    {% endif %}
{% endmacro %}

{% macro stored_in_order(columns) -%}
    {#- SQL: the order of a month's rows in the table, by which DuckDB compresses and skips blocks. -#}
    {{ return("" if target.type == "spark" else " order by " ~ columns) }}
{%- endmacro %}

{% macro empty_month(relation, month) %}
    {# Statements that remove the month's rows from a table. #}
    {% if target.type == "spark" %} {% do return(spark_drop(relation, {"month": month})) %} {% endif %}
    {% do return(["delete from " ~ relation ~ " where month = date '" ~ month ~ "'"]) %}
{% endmacro %}

{% macro record_month(model_name, month, input_hash) %}
    {# Statements that record the month's input hash in the build log. #}
    {% set facts = "'" ~ input_hash ~ "', '" ~ invocation_id ~ "', " ~ started_at() %}
    {% if target.type == "spark" %}
        {% do return(spark_put(build_log(), {"model": model_name, "month": month}, facts)) %}
    {% endif %}
    {% set key = "'" ~ model_name ~ "', date '" ~ month ~ "', " %}
    {% do return(["insert into " ~ build_log() ~ " values (" ~ key ~ facts ~ ")"]) %}
{% endmacro %}

{% macro unrecord_month(model_name, month) %}
    {# Statements that remove the month's record from the build log. #}
    {% if target.type == "spark" %}
        {% do return(spark_drop(build_log(), {"model": model_name, "month": month})) %}
    {% endif %}
    {% set key = "model= '" ~ model_name ~ "' and month = date '" ~ month ~ "'" %}
    {% do return(["delete from " ~ build_log() ~ " where " ~ key]) %}
{% endmacro %}

{% macro record_state(key, value) %}
    {# Statements that record a fact in project_state. #}
    {% set text = quoted([value]) %}
    {% if target.type == "spark" %} {% do return(spark_put(project_state(), {"key": key}, text)) %} {% endif %}
    {% do return(forget_state(key) + ["insert into " ~ project_state() ~ " values ('" ~ key ~ "', " ~ text ~ ")"]) %}
{% endmacro %}

{% macro forget_state(key) %}
    {# Statements that remove a fact from project_state. #}
    {% if target.type == "spark" %} {% do return(spark_drop(project_state(), {"key": key})) %} {% endif %}
    {% do return(["delete from " ~ project_state() ~ " where key = '" ~ key ~ "'"]) %}
{% endmacro %}

{% macro needs_step(sql) %}
    {# True on Spark for a query of the table that it fills, which Spark does not overwrite, and for rows with a check,
       which has no transaction to end. #}
    {% do return(target.type == "spark" and ("from " ~ this in sql or "check" in config.get("meta"))) %}
{% endmacro %}

{% macro step_relation() %}
    {# The step table: rows of one month before they are written. DuckDB holds them in memory and spills to disk. #}
    {% set location = {"database": this.database, "schema": this.schema} %}
    {% if target.type == "duckdb" %} {% set location = {"database": "scratch", "schema": "main"} %} {% endif %}
    {% do return(api.Relation.create(identifier=this.identifier ~ "__dbt_step", type="table", **location)) %}
{% endmacro %}
