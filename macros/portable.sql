{# Engine-specific SQL, one macro per difference between DuckDB and Spark. #}
{% macro months_after(month, n) -%}
    {#- SQL: the month n months after the given one. -#}
    {%- if target.type == "spark" -%} add_months({{ month }}, {{ n }})
    {%- else -%} cast({{ month }} + to_months({{ n }}) as date)
    {%- endif -%}
{%- endmacro %}

{% macro days_between(later, earlier) -%}
    {#- SQL: the number of days between two dates. -#}
    {% if target.type == "spark" %} datediff({{ later }}, {{ earlier }})
    {% else %}({{ later }} - {{ earlier }})
    {% endif %}
{%- endmacro %}

{% macro utc_timestamp(value) -%}
    {#- SQL: a text or a time as UTC. A plain cast to timestamp would silently drop the offset of a text. -#}
    {%- if target.type == "spark" -%} cast(try_cast({{ value }} as timestamp_ltz) as timestamp)
    {%- else -%}
        {#- Most files hold timestamps, and the detour through a time zone costs as much as all other casts of a row. -#}
        case
            when typeof({{ value }}) = 'TIMESTAMP'
            then try_cast({{ value }} as timestamp)
            else timezone('UTC', try_cast({{ value }} as timestamptz))
        end
    {%- endif -%}
{%- endmacro %}

{% macro business_time(utc) -%}
    {#- SQL: a UTC time in the business time zone. -#}
    {%- set zone = business_timezone() -%}
    {%- if zone == "UTC" -%} {{ utc }}
    {%- elif target.type == "spark" -%} convert_timezone('UTC', '{{ zone }}', {{ utc }})
    {%- else -%} timezone('{{ zone }}', timezone('UTC', {{ utc }}))
    {%- endif -%}
{%- endmacro %}

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

{% macro every_month(first_month, last_month, relation) -%}
    {#- SQL: one row per month of the interval. -#}
    {%- if target.type == "spark" -%}
        select explode(sequence({{ first_month }}, {{ last_month }}, interval 1 month)) as month
        from {{ relation }}
        where {{ first_month }} is not null
    {%- else -%}
        select cast(month as date) as month
        from
            (
                select unnest(generate_series({{ first_month }}, {{ last_month }}, interval 1 month)) as month
                from {{ relation }}
            ) as series
    {%- endif -%}
{%- endmacro %}

{% macro every_day(first_month, last_month, relation) -%}
    {#- SQL: one row per day of the interval. -#}
    {%- set series = "generate_series" if target.type == "duckdb" else "sequence" -%}
    select {{ row_per_element(series ~ "(" ~ first_month ~ ", last_day(" ~ last_month ~ "), interval 1 day)") }} as day
    from {{ relation }}
{%- endmacro %}

{% macro every_integer(first, last) -%}
    {#- SQL: one row per integer of the interval. -#}
    {%- set series = "generate_series" if target.type == "duckdb" else "sequence" -%}
    select cast(n as integer) as n
    from (select {{ row_per_element(series ~ "(" ~ first ~ ", " ~ last ~ ")") }} as n) as series
{%- endmacro %}

{% macro order_free_hash(columns, condition="true") -%}
    {#- SQL: a hash of rows. It is a sum, so the order of rows does not matter; null without rows. -#}
    {%- if target.type == "spark" -%}
        {#- xxhash64 skips nulls, so their positions are hashed too. -#}
        {%- set parts = "xxhash64(" ~ columns | join(", ") ~ ", isnull(" ~ columns | join("), isnull(") ~ "))" -%}
        cast(sum(case when {{ condition }} then cast({{ parts }} as decimal(20, 0)) end) as string)
    {%- else -%}
        cast(sum(case when {{ condition }} then cast(hash({{ columns | join(", ") }}) as hugeint) end) as varchar)
    {%- endif -%}
{%- endmacro %}

{% macro pseudonym(id) -%}
    {#- SQL: the first 128 bits of the HMAC-SHA256 of the id (RFC 2104), in hex; the connection holds the padded keys.
        -#}
    left(sha256({{ id_key("outer") }} || unhex(sha256({{ id_key("inner") }} || encode({{ id }})))), 32)
{%- endmacro %}

{% macro has_id_key() %}
    {# True if the run has a key for pseudonyms. #}
    {% if not execute or target.type == "spark" %} {% do return(false) %} {% endif %}
    {% do return(run_query("select " ~ id_key("outer") ~ " is not null as is_set").rows[0]["is_set"]) %}
{% endmacro %}

{% macro id_key(pad) -%}
    {#- SQL: the key mixed with a pad, a variable of the connection. -#}
    getvariable('id_key_{{ pad }}')
{%- endmacro %}

{% macro sum_of_hashes(text) -%}
    {#- SQL: the sum of hashes given as text, as text. -#}
    {%- if target.type == "spark" -%} cast(sum(cast({{ text }} as decimal(30, 0))) as string)
    {%- else -%} cast(sum(cast({{ text }} as hugeint)) as varchar)
    {%- endif -%}
{%- endmacro %}

{% macro digest_of(text) -%}
    {#- SQL: the SHA-256 digest of a text, in hex. -#}
    {%- if target.type == "spark" -%} sha2({{ text }}, 256) {%- else -%} sha256({{ text }}) {%- endif -%}
{%- endmacro %}

{% macro id_of_text(text) -%}
    {#- SQL: an integer of 64 bits for a text, the same in all tables; two of a million texts share one at odds of 1 to
        40 million. -#}
    {% if target.type == "spark" %} xxhash64({{ text }}) {% else %} hash({{ text }}) {% endif %}
{%- endmacro %}

{% macro hash_share(text) -%}
    {#- SQL: a number in [0, 1) that depends on the text alone, the same on both engines. -#}
    {%- set digits = "left(md5(" ~ text ~ "), 8)" -%}
    {%- if target.type == "spark" -%}(cast(conv({{ digits }}, 16, 10) as double) / 4294967296.0)
    {%- else -%}(cast('0x' || {{ digits }} as bigint) / 4294967296.0)
    {%- endif -%}
{%- endmacro %}

{% macro files_in_folders_like(table) %}
    {# Files of folders whose names begin like a table's, such as Spark's consents.parquet, which are never read. #}
    {% if target.type == "spark" %} {% do return([]) %} {% endif %}
    {% set folders = quoted([source_directory() ~ "/" ~ table ~ "*/" ~ "**"]) %}
    {% do return(run_query("select file from glob(" ~ folders ~ ") order by file").columns[0].values() | list) %}
{% endmacro %}

{% macro signs_of_patterns() %}
    {# The wildcard characters of file names; Spark reads several files as {one,other}. #}
    {% do return("*?[{,}" if target.type == "spark" else "*?[") %}
{% endmacro %}

{% macro found_files(table) %}
    {# SQL: all files of a table, in the folder of its name or beside it. Spark lists the whole source once. #}
    {% set location = source_directory() ~ "/" ~ table %}
    {% if target.type == "duckdb" %}
        {% do return("select file from glob([" ~ quoted([location ~ "/" ~ "**", location ~ ".*"]) ~ "])") %}
    {% endif %}
    {% do run_query(
        "create or replace temporary view source_files using binaryFile options (recursiveFileLookup 'true', path '"
        ~ source_directory()
        ~ "')"
    ) %}
    {% do return(
        "select file from (select "
        ~ path_within_source("path")
        ~ " as file from source_files) where left(file, "
        ~ (location | length + 1)
        ~ ") in ("
        ~ quoted([location ~ "/", location ~ "."])
        ~ ")"
    ) %}
{% endmacro %}

{% macro path_within_source(path) -%}
    {#- SQL: the path as LIFE_STAGE_SOURCE begins it; Spark returns absolute paths. A relative name may occur twice in
        a path: the source is the one that a table's name follows. -#}
    {%- set directory = source_directory() ~ "/" -%}
    {%- set tables = graph.sources.values() | selectattr("source_name", "equalto", "shop") | map(attribute="name") | join("|") if execute -%}
    {%- set is_whole = directory.startswith("/") or "://" in directory -%}
    {%- if is_whole -%} substr({{ path }}, instr({{ path }}, '{{ directory }}'))
    {%- else -%} regexp_extract({{ path }}, r'/(\Q{{ directory }}\E({{ tables }})[/.].*)', 1)
    {%- endif -%}
{%- endmacro %}

{% macro file_versions(files) -%}
    {#- SQL: size and modification time of each file, as its version. -#}
    {%- if target.type == "spark" -%}
        select file, version
        from
            (
                select
                    {{ path_within_source("path") }} as file,
                    concat_ws(' ', length, unix_micros(modificationtime)) as version
                from source_files
            ) as listed
        where file in ({{ quoted(files or [""]) }})
    {%- else -%}
        select filename as file, concat_ws(' ', size, epoch_us(last_modified)) as version
        from read_blob([{{ quoted(files) }}])
    {%- endif -%}
{%- endmacro %}

{% macro read_files(files, table=none) -%}
    {#- SQL: the rows of files with the columns of the table's contract, absent ones null; without a table, unchanged.
        -#}
    {%- if target.type == "spark" -%} {{ return(spark_read_files(files, table)) }} {%- endif -%}
    {#- The empty frame comes first, because it has every column of the contract. -#}
    {%- set options = "union_by_name = true, hive_partitioning = false, filename = 'source_file'" -%}
    {%- set parquet, csv, parts = [], [], [empty_frame(table)] if table else [] -%}
    {%- for file in files -%}
        {%- do (parquet if file.lower().endswith(".parquet") else csv).append(file) -%}
    {%- endfor -%}
    {%- if parquet -%}
        {%- do parts.append("select * from read_parquet([" ~ quoted(parquet) ~ "], " ~ options ~ ")") -%}
    {%- endif -%}
    {%- if csv -%}
        {%- do parts.append(
            "select * from read_csv(["
            ~ quoted(csv)
            ~ "], all_varchar = true, header = true, quote = '\"', escape = '\"', comment = '', "
            ~ options
            ~ ")"
        ) -%}
    {%- endif -%}
    {{ parts | join(" union all by name ") }}
{%- endmacro %}

{% macro read_table(relation, table) %}
    {# SQL: the rows of a source table, with the columns of its contract. #}
    {% if target.type == "spark" %} {% do return(in_contract(relation, table, "'" ~ table ~ "'", false)) %} {% endif %}
    {% do return(
        empty_frame(table) ~ " union all by name select *, '" ~ table ~ "' as source_file from " ~ relation
    ) %}
{% endmacro %}

{% macro spark_read_files(files, table) %}
    {# SQL for Spark: all Parquet files at once; each CSV file is a view, because its order of columns may differ. #}
    {% set parquet, csv, parts = [], {}, [] %}
    {% for file in files %}
        {% if file.lower().endswith(".parquet") %} {% do parquet.append(file[source_directory() | length + 1 :]) %}
        {% else %}
            {% do csv.update({file: "csv_" ~ local_md5(file)}) %}
            {% set options = "header 'true', multiLine 'true', quote '\"', escape '\"', path '" ~ file ~ "'" %}
            {% do run_query("create or replace temporary view " ~ csv[file] ~ " using csv options (" ~ options ~ ")") %}
        {% endif %}
    {% endfor %}
    {% set one = parquet[0] if parquet | length == 1 else "{" ~ parquet | join(",") ~ "}" %}
    {% set all_parquet = "parquet.`" ~ source_directory() ~ "/" ~ one ~ "`" %}
    {% if table is none %} {% do return("select * from " ~ (all_parquet if parquet else csv[files[0]])) %} {% endif %}
    {% if parquet %}
        {% set name = path_within_source("url_decode(replace(_metadata.file_path, '+', '%2B'))") %}
        {% do parts.append(in_contract(all_parquet, table, name, csv | length > 0)) %}
    {% endif %}
    {% for file, view in csv.items() %}
        {% do parts.append(in_contract(view, table, quoted([file]), true)) %}
    {% endfor %}
    {% do return(parts | join(" union all ") or empty_frame(table)) %}
{% endmacro %}

{% macro in_contract(relation, table, source_file, times_are_text) %}
    {# SQL for Spark: the columns of a contract, in its order. Times beside texts become texts, so that no cast fails.
       #}
    {% set types, columns = {}, [] %}
    {% for column in adapter.get_column_schema_from_query("select * from " ~ relation) %}
        {% do types.update({column.name | lower: column.dtype | lower}) %}
    {% endfor %}
    {% for column in contract_columns(table) %}
        {% set name, type = column.name, types.get(column.name, "void") %}
        {% if type in ("double", "float") %}
            {# 1e7 is 10000000.0, as on DuckDB #}
            {% set value = (
                "coalesce(cast(try_cast("
                ~ name
                ~ " as decimal(38, 1)) as string), cast("
                ~ name
                ~ " as string))"
            ) %}
            {% set value = (
                "case when "
                ~ name
                ~ " = floor("
                ~ name
                ~ ") then "
                ~ value
                ~ " else cast("
                ~ name
                ~ " as string) end"
            ) %}
        {% elif name not in types %} {% set value = "cast(null as " ~ column.data_type ~ ")" %}
        {% elif column.data_type == "string" or times_are_text or type == "string" %}
            {% set value = "cast(" ~ name ~ " as string)" %}
        {% else %} {% set value = name %}
        {% endif %}
        {% do columns.append(value ~ " as " ~ name) %}
    {% endfor %}
    {% do return("select " ~ columns | join(", ") ~ ", " ~ source_file ~ " as source_file from " ~ relation) %}
{% endmacro %}

{% macro run_as_one(statements) %}
    {# Runs the statements, in one transaction on DuckDB. Spark has none: there any order must survive a kill. #}
    {% if target.type == "spark" %}
        {% for sql in statements %} {% call statement("part") %} {{ sql }} {% endcall %} {% endfor %}
    {% elif statements %}
        {% call statement("all") %} {{ statements | join(";\n") }} {% endcall %} {% do adapter.commit() %}
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

{% macro is_partitioned(relation) %}
    {# True on Spark for tables by month, except derived ones: they are built anew by every run. #}
    {% do return(
        target.type == "spark"
        and not (modules.life_stage.is_derived(model) and relation.identifier == this.identifier)
    ) %}
{% endmacro %}

{% macro months_without_rows(relation, sql) -%}
    {#- SQL that creates a table of months with the columns of a query. -#}
    {%- set no_rows = "select * from (" ~ sql ~ ") as months where false" -%}
    {%- if is_partitioned(relation) -%}
        {{ return("create table " ~ relation ~ partitioned_by_month() ~ " as " ~ no_rows) }}
    {%- else -%} {{ return(create_table_as(false, relation, no_rows)) }}
    {%- endif -%}
{%- endmacro %}

{% macro create_step(relation, sql) %}
    {# SQL that creates a step table. It has columns of the state that the contract of a model does not list. #}
    {% do return("create table " ~ relation ~ (" using parquet" if target.type == "spark" else "") ~ " as " ~ sql) %}
{% endmacro %}

{% macro fill_month(relation, month, sql) %}
    {# Statements that replace the month of a table by the rows of the query. #}
    {% if is_partitioned(relation) %}
        {% do return(
            [
                "insert overwrite table "
                ~ relation
                ~ " partition (month = date '"
                ~ month
                ~ "') by name select * except (month) from ("
                ~ sql
                ~ ")"
            ]
        ) %}
    {% endif %}
    {% set emptied = [] if target.type == "spark" else empty_month(relation, month) %}
    {% do return(emptied + ["insert into " ~ relation ~ " by name " ~ sql]) %}
{% endmacro %}

{% macro stored_in_order(columns) -%}
    {#- SQL: the order of a month's rows in the table, by which DuckDB compresses and skips blocks. -#}
    {{ return("" if target.type == "spark" else " order by " ~ columns) }}
{%- endmacro %}

{% macro empty_month(relation, month) %}
    {# Statements that remove the month's rows from a table. #}
    {% set of_month = "(month = date '" ~ month ~ "')" %}
    {% if target.type == "spark" %}
        {% do return(["alter table " ~ relation ~ " drop if exists partition " ~ of_month]) %}
    {% endif %}
    {% do return(["delete from " ~ relation ~ " where " ~ of_month]) %}
{% endmacro %}

{% macro record_month(model_name, month, input_hash) %}
    {# Statements that record the month's input hash in the build log. #}
    {% set facts = "'" ~ input_hash ~ "', '" ~ invocation_id ~ "', " ~ started_at() %}
    {% set key = "'" ~ model_name ~ "', date '" ~ month ~ "', " %}
    {% if target.type == "spark" %}
        {% set key = "partition (model= '" ~ model_name ~ "', month = date '" ~ month ~ "')" %}
        {% do return(["insert overwrite table " ~ build_log() ~ " " ~ key ~ " select " ~ facts]) %}
    {% endif %}
    {% do return(["insert into " ~ build_log() ~ " values (" ~ key ~ facts ~ ")"]) %}
{% endmacro %}

{% macro unrecord_month(model_name, month) %}
    {# Statements that remove the month's record from the build log. #}
    {% if target.type == "spark" %}
        {% set key = "(model= '" ~ model_name ~ "', month = date '" ~ month ~ "')" %}
        {% do return(["alter table " ~ build_log() ~ " drop if exists partition " ~ key]) %}
    {% endif %}
    {% set key = "model= '" ~ model_name ~ "' and month = date '" ~ month ~ "'" %}
    {% do return(["delete from " ~ build_log() ~ " where " ~ key]) %}
{% endmacro %}

{% macro record_state(key, value) %}
    {# Statements that record a fact in project_state. #}
    {% if target.type == "spark" %}
        {% do return(
            [
                "insert overwrite table "
                ~ project_state()
                ~ " partition (key= '"
                ~ key
                ~ "') select '"
                ~ value
                ~ "'"
            ]
        ) %}
    {% endif %}
    {% do return(
        forget_state(key) + ["insert into " ~ project_state() ~ " values ('" ~ key ~ "', '" ~ value ~ "')"]
    ) %}
{% endmacro %}

{% macro forget_state(key) %}
    {# Statements that remove a fact from project_state; DuckDB only. #}
    {% do return(["delete from " ~ project_state() ~ " where key = '" ~ key ~ "'"]) %}
{% endmacro %}

{% macro step_relation() %}
    {# The step table: rows of one month before they are written. DuckDB holds them in memory and spills to disk. #}
    {% set location = {"database": this.database, "schema": this.schema} %}
    {% if target.type == "duckdb" %} {% set location = {"database": "scratch", "schema": "main"} %} {% endif %}
    {% do return(api.Relation.create(identifier=this.identifier ~ "__dbt_step", type="table", **location)) %}
{% endmacro %}

{% macro order_statistic(column, share) -%}
    {#- SQL: the quantile of a column, as an aggregate. -#}
    percentile_cont({{ share }}) within group (order by {{ column }})
{%- endmacro %}

{% macro row_per_element(list) -%}
    {#- SQL: one row per element of a list. -#}
    {% if target.type == "spark" %} explode({{ list }}) {% else %} unnest({{ list }}) {% endif %}
{%- endmacro %}

{% macro json_entries(text, name) -%}
    {#- SQL: one row per key of a JSON object given as text: <name>_key, <name>_value; none if it is no object. -#}
    {%- if target.type == "spark" -%}
        explode(from_json({{ text }}, 'map<string,string>')) as ({{ name }}_key, {{ name }}_value)
    {%- else -%}
        {%- set entries = "try_cast(try_cast(" ~ text ~ " as json) as map(varchar, varchar))" -%}
        unnest(map_keys({{ entries }})) as {{ name }}_key,
        unnest(map_values({{ entries }})) as {{ name }}_value
    {%- endif -%}
{%- endmacro %}

{% macro fail_query(message) -%}
    {#- SQL that fails with the message, an SQL expression that can quote values. -#}
    {%- set raise = "raise_error" if target.type == "spark" else "error" -%} {{ raise }} ({{ message }})
{%- endmacro %}

{# Macros for Spark only: dbt-spark's own seeds lose nulls, its tables the old table, its incremental models deletions.
   #}
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
    {# Sets the comments of columns, because dbt-spark does not for Parquet. #}
    {% for name, column in column_dict.items() if relation.type == "table" and column.description %}
        {% set comment = quoted([column.description]) %}
        {% do run_query("alter table " ~ relation ~ " alter column " ~ name ~ " comment " ~ comment) %}
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
    {% do swap_in(new, target_relation) %}
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
        {% set all_rows = api.Relation.create(
            schema=this.schema, identifier=this.identifier ~ "__dbt_rows", type="table"
        ) %}
        {% set names = adapter.get_columns_in_relation(this) | map(attribute="name") | join(", ") %}
        {% set kept = key ~ " not in (select " ~ key ~ " from " ~ new ~ ")" %}
        {% set rows = "select " ~ names ~ " from " ~ new ~ " union all select " ~ names ~ " from " ~ this %}
        {% do adapter.drop_relation(all_rows) %}
        {% do run_query(create_step(all_rows, rows ~ " where " ~ kept)) %}
        {% do swap_in(all_rows, target_relation) %}
        {% do adapter.drop_relation(new) %}
    {% else %}
        {% do run_query("insert into " ~ this ~ " by name select * from " ~ new) %} {% do adapter.drop_relation(new) %}
    {% endif %}
    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks) }}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
