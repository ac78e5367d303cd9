{# Spark alone: its source files, its months as partitions, its tables. dbt-spark's own seeds lose nulls, its tables
   the old table, its incremental models deletions. #}
{% macro spark_source_files(table) %}
    {# Names, within the source, of the data files of one table. The whole source is listed, into a view. #}
    {% set options = "recursiveFileLookup 'true', path '" ~ source_directory() ~ "'" %}
    {% do run_query("create or replace temporary view source_files using binaryFile options (" ~ options ~ ")") %}
    {% set sql = "select " ~ name_within_source("path") ~ " as file from source_files" %}
    {% set files = [] %}
    {% for file in run_query(sql).columns[0].values()
        if file.startswith((table ~ "/", table ~ ".")) and "/_" not in file and "/." not in file %}
        {# Spark reads several files as {one,other}. #}
        {% if modules.re.search("[*?[{,}]", file) %}
            {% do fail("LS-SRC-004", file ~ " has one of *?[{,} in its name, which are wildcards", "rename it") %}
        {% elif not file.lower().endswith((".parquet", ".csv", ".csv.gz")) %}
            {% do fail("LS-SRC-004", file ~ " is neither Parquet nor CSV", "remove it from the source or convert it") %}
        {% endif %}
        {% do files.append(file) %}
    {% endfor %}
    {% do return(files | sort) %}
{% endmacro %}

{% macro spark_file_versions(files) -%}
    {#- SQL: size and modification time of each file, as its version. -#}
    select file, version
    from
        (
            select
                {{ name_within_source("path") }} as file,
                concat_ws(' ', length, unix_micros(modificationtime)) as version
            from source_files
        ) as listed
    where file in ({{ quoted(files or [""]) }})
{%- endmacro %}

{% macro name_within_source(path) -%}
    {#- SQL: the name of a file within the source. Spark returns whole paths, with a scheme in front. -#}
    {%- set directory = source_directory() ~ "/" -%}
    substr({{ path }}, instr({{ path }}, '{{ directory }}') + {{ directory | length }})
{%- endmacro %}

{% macro spark_read_files(files, table, is_in_contract=true) %}
    {# SQL for Spark: all Parquet files at once; each CSV file is a view, because its order of columns may differ. #}
    {% set parquet, csv, parts = [], {}, [] %}
    {% for file in files %}
        {% if file.lower().endswith(".parquet") %} {% do parquet.append(file) %}
        {% else %}
            {% do csv.update({file: "csv_" ~ local_md5(file)}) %}
            {% set path = source_directory() ~ "/" ~ file %}
            {% set options = "header 'true', multiLine 'true', quote '\"', escape '\"', path '" ~ path ~ "'" %}
            {% do run_query("create or replace temporary view " ~ csv[file] ~ " using csv options (" ~ options ~ ")") %}
        {% endif %}
    {% endfor %}
    {% set one = parquet[0] if parquet | length == 1 else "{" ~ parquet | join(",") ~ "}" %}
    {% set all_parquet = "parquet.`" ~ source_directory() ~ "/" ~ one ~ "`" %}
    {% if not is_in_contract %}
        {% do return("select * from " ~ (all_parquet if parquet else csv[files[0]])) %}
    {% endif %}
    {% if parquet %}
        {% set name = name_within_source("url_decode(replace(_metadata.file_path, '+', '%2B'))") %}
        {% set types = types_of("select * from " ~ all_parquet) %}
        {% do parts.append(in_contract(all_parquet, table, types, name, csv != {})) %}
    {% endif %}
    {% for file, view in csv.items() %}
        {% set types = types_of("select * from " ~ view) %}
        {% do parts.append(in_contract(view, table, types, quoted([file]), true)) %}
    {% endfor %}
    {% do return(parts | join(" union all ") or empty_frame(table)) %}
{% endmacro %}

{% macro spark_run(statements) %}
    {# Runs the statements one by one. There are no transactions: any order must survive a kill. #}
    {% for sql in statements %} {% call statement("part") %} {{ sql }} {% endcall %} {% endfor %}
{% endmacro %}

{% macro spark_partitions(relation) %}
    {# True for tables by month, except derived ones: every run rebuilds them. #}
    {% do return(
        target.type == "spark"
        and not (modules.life_stage.is_derived(model) and relation.identifier == this.identifier)
    ) %}
{% endmacro %}

{% macro spark_fill_month(relation, month, sql) %}
    {# Statements that replace the month of a table by the rows of the query. #}
    {% if not spark_partitions(relation) %} {% do return(["insert into " ~ relation ~ " by name " ~ sql]) %} {% endif %}
    {% set rows = "by name select * except (month) from (" ~ sql ~ ")" %}
    {% do return(["insert overwrite table " ~ relation ~ spark_partition({"month": month}) ~ rows]) %}
{% endmacro %}

{% macro spark_put(relation, keys, values) %}
    {# Statements that replace the row of these keys. #}
    {% do return(["insert overwrite table " ~ relation ~ spark_partition(keys) ~ "select " ~ values]) %}
{% endmacro %}

{% macro spark_drop(relation, keys) %}
    {# Statements that remove the rows of these keys. #}
    {% do return(["alter table " ~ relation ~ " drop if exists" ~ spark_partition(keys)]) %}
{% endmacro %}

{% macro spark_partition(keys) %}
    {# SQL: the partition of these keys; `month` is a date. #}
    {% set parts = [] %}
    {% for name, value in keys.items() %}
        {% do parts.append(name ~ " = " ~ ("date " if name == "month" else "") ~ quoted([value])) %}
    {% endfor %}
    {% do return(" partition (" ~ parts | join(", ") ~ ") ") %}
{% endmacro %}

{% macro spark__load_csv_rows(model, agate_table) %}
    {# Loads a seed with typed literals, because dbt-spark loses nulls. #}
    {% set types, rows = model["config"].get("column_types", {}), [] %}
    {% for row in agate_table.rows %}
        {% set values = [] %}
        {% for name in agate_table.column_names %}
            {% set type = types.get(name, adapter.convert_type(agate_table, loop.index0)) %}
            {% set text = "null" if row[name] is none else quoted([row[name] | string | replace("\\", "\\\\")]) %}
            {% do values.append("cast(" ~ text ~ " as " ~ type ~ ")") %}
        {% endfor %}
        {% do rows.append("(" ~ values | join(", ") ~ ")") %}
    {% endfor %}
    {% set sql = "insert into " ~ this ~ " values " ~ rows | join(", ") %}
    {% do adapter.add_query(sql, abridge_sql_log=True) %}
    {% do return(sql) %}
{% endmacro %}

{% macro spark__create_table_as(temporary, relation, compiled_code, language="sql") %}
    {# SQL, or the text of a Python model, that creates a Parquet table. #}
    {% if language == "python" %}
        {% set writing = "from life_stage.spark.on_spark import write\nwrite(model, dbtObj, '" ~ relation ~ "')\n" %}
        {% do return(compiled_code ~ "\n" ~ writing) %}
    {% endif %}
    {% if config.get("contract").enforced %}
        {% do get_assert_columns_equivalent(compiled_code) %}
        {% set compiled_code = get_select_subquery(compiled_code) %}
    {% endif %}
    {% do return("create table " ~ relation ~ " using parquet " ~ comment_clause() ~ " as " ~ compiled_code) %}
{% endmacro %}

{% macro spark__alter_column_comment(relation, column_dict) %}
    {# Sets the comments of columns, because dbt-spark does not for Parquet. Spark refuses one on a partition column. #}
    {% set is_partitioned = "monthly" in model.config.materialized and spark_partitions(relation) %}
    {% for name, column in column_dict.items() if relation.type == "table" and column.description %}
        {% if name != "month" or not is_partitioned %}
            {% set comment = quoted([column.description]) %}
            {% do run_query("alter table " ~ relation ~ " alter column " ~ name ~ " comment " ~ comment) %}
        {% endif %}
    {% endfor %}
{% endmacro %}

{% macro swap_in(new, target_relation) %}
    {# Replaces a table. The old one is dropped last, so that one of the two survives a kill; a view holds no rows. #}
    {% set old = load_relation(target_relation) %}
    {% set backup = make_backup_relation(target_relation, "table") %}
    {% if old is not none and old.is_view %} {% do adapter.drop_relation(old) %}
    {% elif old is not none %} {% do adapter.rename_relation(old, backup) %}
    {% endif %}
    {% do adapter.rename_relation(new, target_relation) %}
    {% do adapter.drop_relation(backup) %}
{% endmacro %}

{% macro spark_put_rows(relation, key, sql) %}
    {# Writes the rows of the query in place of those with their keys. The whole table is rewritten. #}
    {% set all_rows = api.Relation.create(
        schema=relation.schema, identifier=relation.identifier ~ "__dbt_rows", type="table"
    ) %}
    {% set names = adapter.get_columns_in_relation(relation) | map(attribute="name") | join(", ") %}
    {% set rows = "select " ~ names ~ " from (" ~ sql ~ ") union all select " ~ names ~ " from " ~ relation %}
    {% do adapter.drop_relation(all_rows) %}
    {% do run_query(
        create_step(all_rows, rows ~ " where " ~ key ~ " not in (select " ~ key ~ " from (" ~ sql ~ "))")
    ) %}
    {% do swap_in(all_rows, relation) %}
{% endmacro %}

{% macro recover_swap() %}
    {# Renames the backup of a missing table back, after a run was killed in swap_in. #}
    {% set names = tables_there(target.schema) if target.type == "spark" else [] %}
    {% for name in names if name.removesuffix("__dbt_backup") not in names %}
        {% set backup = api.Relation.create(none, target.schema, name, type="table") %}
        {% set location = backup.incorporate(path={"identifier": name.removesuffix("__dbt_backup")}) %}
        {% do adapter.rename_relation(backup, location) %}
    {% endfor %}
    {% if names %} {% do drop_leftovers() %} {% endif %}
{% endmacro %}

{% materialization table, adapter = "spark", supported_languages = ["sql", "python"] %}
    {# A table on Spark, swapped in when complete, because a model may read its own last state. #}
    {% set target_relation, new, language = this.incorporate(type="table"), step_relation(), model["language"] %}
    {{ run_hooks(pre_hooks) }}
    {% do adapter.drop_relation(new) %}
    {% set writing = create_table_as(false, new, model["compiled_code"], language) %}
    {% call statement("main", language=language) %} {{ writing }}{% endcall %}
    {% do check_output(new) %} {% do swap_in(new, target_relation) %}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks) }}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}

{% materialization incremental, adapter = "spark", supported_languages = ["sql", "python"] %}
    {# An incremental table on Spark: rows are appended; with a unique key the whole table is rewritten. #}
    {% set target_relation, new, language = this.incorporate(type="table"), step_relation(), model["language"] %}
    {% set key, is_first = config.get("unique_key"), load_relation(this) is none or should_full_refresh() %}
    {{ run_hooks(pre_hooks) }}
    {% do adapter.drop_relation(new) %}
    {% set writing = create_table_as(false, new, model["compiled_code"], language) %}
    {% call statement("main", language=language) %} {{ writing }}{% endcall %}
    {% if is_first %} {% do swap_in(new, target_relation) %}
    {% elif key %}
        {% do spark_put_rows(target_relation, key, "select * from " ~ new) %} {% do adapter.drop_relation(new) %}
    {% else %}
        {% do run_query("insert into " ~ this ~ " by name select * from " ~ new) %} {% do adapter.drop_relation(new) %}
    {% endif %}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks) }}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
