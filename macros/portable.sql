{# The only engine-specific SQL: everything DuckDB and Spark spell differently, one macro each. #}
{% macro months_after(month, n) -%} cast({{ month }} + to_months({{ n }}) as date) {%- endmacro %}

{% macro days_between(later, earlier) -%}
    {% if target.type == "spark" %} datediff({{ later }}, {{ earlier }})
    {% else %}({{ later }} - {{ earlier }})
    {% endif %}
{%- endmacro %}

{% macro utc_timestamp(value) -%}
    {#- Text may carry an offset, which a plain cast to timestamp drops without a word. -#}
    timezone('UTC', try_cast({{ value }} as timestamptz))
{%- endmacro %}

{% macro business_time(utc) -%}
    {%- set zone = business_timezone() -%}
    {%- if zone == "UTC" -%} {{ utc }}
    {%- else -%} timezone('{{ zone }}', timezone('UTC', {{ utc }}))
    {%- endif -%}
{%- endmacro %}

{% macro found_timezones(zone) -%} select name from pg_timezone_names() where name = '{{ zone }}' {%- endmacro %}

{% macro leftover_tables(schema) -%}
    select table_name
    from information_schema.tables
    where table_schema = '{{ schema }}' and table_type = 'BASE TABLE' and contains(table_name, '__dbt_')
{%- endmacro %}

{% macro tables_with(column, schema) -%}
    select columns.table_name
    from information_schema.columns as columns
    inner join
        information_schema.tables as tables
        on columns.table_catalog = tables.table_catalog
        and columns.table_schema = tables.table_schema
        and columns.table_name = tables.table_name
    where
        columns.table_catalog = current_database()
        and columns.table_schema = '{{ schema }}'
        and columns.column_name = '{{ column }}'
        and tables.table_type = 'BASE TABLE'
    order by columns.table_name
{%- endmacro %}

{% macro every_month(first_month, last_month, relation) -%}
    select cast(month as date) as month
    from
        (
            select unnest(generate_series({{ first_month }}, {{ last_month }}, interval 1 month)) as month
            from {{ relation }}
        ) as series
{%- endmacro %}

{% macro every_day(first_month, last_month, relation) -%}
    select unnest(generate_series({{ first_month }}, last_day({{ last_month }}), interval 1 day)) as day
    from {{ relation }}
{%- endmacro %}

{% macro every_integer(first, last) -%}
    select cast(n as integer) as n from (select unnest(range({{ first }}, {{ last }} + 1)) as n)
{%- endmacro %}

{% macro order_free_hash(columns, condition="true") -%}
    {#- A sum, so that the order in which rows are read does not matter; null without rows. -#}
    cast(sum(case when {{ condition }} then cast(hash({{ columns | join(", ") }}) as hugeint) end) as varchar)
{%- endmacro %}

{% macro pseudonym(id) -%}
    {#- HMAC-SHA256 of the id (RFC 2104), its first 128 bits in hex; the key, mixed with both pads, is the session's. -#}
    left(sha256({{ id_key("outer") }} || unhex(sha256({{ id_key("inner") }} || encode({{ id }})))), 32)
{%- endmacro %}

{% macro id_key(pad) -%} getvariable('id_key_{{ pad }}') {%- endmacro %}

{% macro write_csv(sql, path) -%} copy ({{ sql }}) to '{{ path }}' (header) {%- endmacro %}

{% macro sum_of_hashes(text) -%} cast(sum(cast({{ text }} as hugeint)) as varchar) {%- endmacro %}

{% macro digest_of(text) -%} sha256({{ text }}) {%- endmacro %}

{% macro hash_share(text) -%}
    {#- A number in [0, 1) that depends on the text alone, equal on every engine and in every year. -#}
    (cast('0x' || left(md5({{ text }}), 8) as bigint) / 4294967296.0)
{%- endmacro %}

{% macro found_files(patterns) -%} select file from glob([{{ quoted(patterns) }}]) {%- endmacro %}

{% macro file_versions(files) -%}
    select filename as file, concat_ws(' ', size, epoch_us(last_modified)) as version
    from read_blob([{{ quoted(files) }}])
{%- endmacro %}

{% macro read_files(files, frame=none) -%}
    {#- The frame comes first: it names every column of the contract, so that an absent optional one is null. -#}
    {%- set options = "union_by_name = true, hive_partitioning = false, filename = 'source_file'" -%}
    {%- set parquet, csv, parts = [], [], [frame] if frame else [] -%}
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
    {{ by_name(parts) }}
{%- endmacro %}

{% macro by_name(selects) -%} {{ selects | join(" union all by name ") }} {%- endmacro %}

{% macro replace_month(relation, month, sql) -%}
    delete from {{ relation }}
    where month = date '{{ month }}'
    ;
    insert into {{ relation }} by name {{ sql }};
{%- endmacro %}

{% macro step_relation() %}
    {# The rows of one month until they are in their table: DuckDB keeps them in memory, and on disk when that is full. #}
    {% set place = {"database": this.database, "schema": this.schema} %}
    {% if target.type == "duckdb" %} {% set place = {"database": "scratch", "schema": "main"} %} {% endif %}
    {% do return(api.Relation.create(identifier=this.identifier ~ "__dbt_step", type="table", **place)) %}
{% endmacro %}

{% macro users_leaving() %}
    {# The users that are being forgotten: in memory, for their ids must not stay on the disk. #}
    {% set place = {"database": target.database, "schema": target.schema} %}
    {% if target.type == "duckdb" %} {% set place = {"database": "scratch", "schema": "main"} %} {% endif %}
    {% do return(api.Relation.create(identifier="users_leaving", type="table", **place)) %}
{% endmacro %}

{% macro order_statistic(column, share) -%}
    percentile_cont({{ share }}) within group (order by {{ column }})
{%- endmacro %}

{% macro row_per_element(list) -%}
    {% if target.type == "spark" %} explode({{ list }}) {% else %} unnest({{ list }}) {% endif %}
{%- endmacro %}

{% macro replace_every(text, pattern, replacement) -%}
    {%- set every = "" if target.type == "spark" else ", 'g'" -%}
    regexp_replace({{ text }}, '{{ pattern }}', '{{ replacement }}'{{ every }})
{%- endmacro %}

{% macro composed(text) -%}
    {#- A letter and its accent as one sign; Spark has no such function, there texts stay as they are. -#}
    {% if target.type == "spark" %} {{ text }} {% else %} nfc_normalize({{ text }}) {% endif %}
{%- endmacro %}

{% macro json_entries(text, name) -%}
    {#- One row per key of a JSON object given as text: <name>_key, <name>_value; none where it is no object. -#}
    {%- if target.type == "spark" -%}
        explode(from_json({{ text }}, 'map<string,string>')) as ({{ name }}_key, {{ name }}_value)
    {%- else -%}
        {%- set entries = "try_cast(try_cast(" ~ text ~ " as json) as map(varchar, varchar))" -%}
        unnest(map_keys({{ entries }})) as {{ name }}_key,
        unnest(map_values({{ entries }})) as {{ name }}_value
    {%- endif -%}
{%- endmacro %}

{% macro stop_query(message) -%}
    {#- The message is SQL, so that it can say what was found. -#}
    {%- set raise = "raise_error" if target.type == "spark" else "error" -%} {{ raise }} ({{ message }})
{%- endmacro %}
