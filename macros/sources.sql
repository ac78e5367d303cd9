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
        "price",
        "raw_occurred_at",
        "raw_action",
        "raw_quantity",
    ] %}
    {% do return(action_contents() + more) %}
{% endmacro %}

{% macro contract_columns(table) %}
    {# The columns that models/sources.yml declares for the table: a list of nodes with name, data_type, meta. #}
    {% if not execute or not graph.sources %} {% do return([]) %} {% endif %}  {# parsing; a unit test #}
    {% for node in graph.sources.values() if node.name == table and node.source_name == "shop" %}
        {% do return(node.columns.values() | list) %}
    {% endfor %}
{% endmacro %}

{% macro empty_frame(table) %}
    {# SQL: the columns of the table's contract, without rows. #}
    {% set columns = [] %}
    {% for column in contract_columns(table) %}
        {# A time keeps its type of the source: it may be a number. #}
        {% set value = "cast(null as string)" if column.data_type == "string" else "null" %}
        {% do columns.append(value ~ " as " ~ column.name) %}
    {% endfor %}
    {% do return("select " ~ columns | join(", ") ~ ", cast(null as string) as source_file where false") %}
{% endmacro %}

{% macro mapping_of(table) %}
    {# The mapping of the table; none without one, and of the models of a host project. #}
    {% if reads_models() %} {% do return(none) %} {% endif %}
    {% do return(modules.life_stage.mapping_of(table, setting("source_schema") != "")) %}
{% endmacro %}

{% macro source_relation(table) %}
    {# SQL of a table of the source, or of what its mapping selects. #}
    {% set mapping = mapping_of(table) %} {% do return("(" ~ mapping.sql ~ ")" if mapping else source_table(table)) %}
{% endmacro %}

{% macro source_rows(table, files=none) %}
    {# SQL that selects the table's raw rows, with source_file; `files` restricts it to some of the files. #}
    {% do source_table(table) %}
    {% if not execute %} {% do return("select 1") %}
    {% elif files is none and not has_source(table) %} {% do return(empty_frame(table)) %}
    {% elif reads_tables() %}
        {% set relation = source_relation(table) %}
        {% do return(in_contract(relation, table, types_of("select * from " ~ relation), quoted([table]))) %}
    {% else %} {% do return(read_files(source_files(table) if files is none else files, table)) %}
    {% endif %}
{% endmacro %}

{% macro table_rows_near(month) %}
    {# SQL that selects the rows of the table actions from two days before a month to two days after it, in any time
       zone, which the engine finds without reading other months; all rows if times are neither timestamps nor dates. #}
    {% set rows, month_after = source_rows("actions"), months_after("date '" ~ month ~ "'", 1) %}
    {% set type = types_of("select * from " ~ source_relation("actions")).occurred_at %}
    {% if modules.life_stage.family(type) not in ("time", "date") %} {% do return(rows) %} {% endif %}
    {% set from = " where occurred_at >= cast(date '" ~ month ~ "' - interval 2 day as date)" %}
    {% do return(rows ~ from ~ " and occurred_at < cast(" ~ month_after ~ " + interval 2 day as date)") %}
{% endmacro %}

{% macro versions_of(files) -%}
    {#- SQL: each file's version with the validation rules: a change of either makes the file be read again. -#}
    select file, concat(version, ' {{ validation_rules() }}') as version from ({{ file_versions(files) }}) as listed
{%- endmacro %}

{% macro files_to_read(table, files) %}
    {# Files whose name, size or time is new to the inventory; items and children are read completely in every run. #}
    {% set inventory = load_relation(own_table("source_row_counts")) %}
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

{% macro types_of(sql) %}
    {# {column in lower case: type} of a query. #}
    {% set types = {} %}
    {% for column in adapter.get_column_schema_from_query(sql) if column.name != "source_file" %}
        {% do types.update({column.name | lower: column.dtype}) %}
    {% endfor %}
    {% do return(types) %}
{% endmacro %}

{% macro in_contract(relation, table, types, source_file, times_are_text=false) %}
    {# SQL: the columns of a contract, in its order, from columns of these types. Times beside texts become texts, so
       that no cast fails. #}
    {% set columns = [] %}
    {% for column in contract_columns(table) %}
        {% set name, type = column.name, types.get(column.name) %}
        {% set family = modules.life_stage.family(type or "") %}
        {% if type is none and name == "action_id" %} {% set value = content_id(types.keys(), source_file) %}
        {% elif type is none %} {% set value = "cast(null as " ~ column.data_type ~ ")" %}
        {% elif family == "nested" %} {% set value = "cast(to_json(" ~ name ~ ") as string)" %}
        {% elif family in ("decimal", "float") %} {% set value = text_of_number(name, type, column.meta.get("kind")) %}
        {% elif family in ("time", "date") and column.data_type != "string" and not times_are_text %}
            {% set value = name %}
        {% else %} {% set value = "cast(" ~ name ~ " as string)" %}
        {% endif %}
        {# On one line: the text also replaces a placeholder in comments. #}
        {% do columns.append(value.split() | join(" ") ~ " as " ~ name) %}
    {% endfor %}
    {% do return("select " ~ columns | join(", ") ~ ", " ~ source_file ~ " as source_file from " ~ relation) %}
{% endmacro %}

{% macro content_id(columns, source_file) -%}
    {#- SQL: an id for a row of a log without ids of actions: the hash of its content, with its number among equal rows
        of the file. A column that is absent counts as an empty one. -#}
    {%- set contents = [] -%}
    {%- for name in action_contents() -%}
        {%- do contents.append("coalesce(cast(" ~ name ~ " as string), '')" if name in columns else "''") -%}
    {%- endfor -%}
    {%- set content = "concat_ws('|', " ~ contents | join(", ") ~ ")" -%}
    md5(concat_ws('|', {{ content }}, row_number() over (partition by {{ content }}, {{ source_file }} order by 1)))
{%- endmacro %}

{% macro text_of_number(value, type, kind) -%}
    {#- SQL: a decimal or floating number as text, a whole one without decimal places. A floating id beyond the whole
        numbers that its type can tell apart is marked by E+0, which id_of does not read; NaN and infinity are null. -#}
    {%- set exact = 16777216 if type | upper in ("FLOAT", "REAL") else 9007199254740992 -%}
    {%- if modules.life_stage.family(type) == "decimal" -%}
        {{ replaced("cast(" ~ value ~ " as string)", "[.]0+$", "") }}
    {%- else -%}
        case
            when not ({{ value }} - {{ value }} = 0)
            then null
            {% if kind == "id" %} when abs({{ value }}) >= {{ exact }} then concat({{ value }}, 'E+0')
            {% endif %}
            when {{ value }} = floor({{ value }}) and abs({{ value }}) < {{ exact }}
            then cast(cast({{ value }} as bigint) as string)
            else cast({{ value }} as string)
        end
    {%- endif -%}
{%- endmacro %}

{% macro user_id_of(column) -%}
    {#- SQL: a user's id, or its pseudonym if there is a key. A connection without that key yields null, never the id.
        -#}
    {{ pseudonym(plain_user_id_of(column)) if has_id_key() else plain_user_id_of(column) }}
{%- endmacro %}

{% macro plain_user_id_of(column) -%}
    {#- SQL: a user's id; null for a placeholder of var source_placeholder_ids. -#}
    case
        when lower(trim({{ column }})) not in ({{ quoted(setting("source_placeholder_ids")) }}) then {{ id_of(column) }}
    end
{%- endmacro %}

{% macro id_of(column) -%}
    {#- SQL: the id as text, without what spreadsheets put around it; 123.0, as pandas writes beside nulls, is 123.
        Blanks and ids that lost digits are null. Only CASE spares most ids the slower conditions. -#}
    {%- set text = "trim(" ~ column ~ ")" -%}
    case
        when {{ has_lost_digits(column) }}
        then null
        when {{ column }} like '%="%'
        then nullif(trim({{ replaced(text, '^="(.*)"$', "$1") }}), '')
        when {{ column }} like '%.0%'
        then {{ replaced(text, "^([0-9]+)[.]0+$", "$1") }}
        when {{ column }} like '%''%'
        then {{ replaced(text, "^\\x27([0-9]+)$", "$1") }}
        else nullif({{ text }}, '')
    end
{%- endmacro %}

{% macro has_lost_digits(column) -%}
    {#- SQL: true for an id such as 1.2345E+17, as spreadsheets and floating numbers write it: other ids look the same.
        -#}
    case
        when {{ column }} like '%+%'
        then {{ matches("trim(" ~ column ~ ")", '^(?:=")?[0-9.eE+]*[eE][+][0-9]+"?$') }}
        when {{ column }} like '%.0%'
        then {{ matches("trim(" ~ column ~ ")", "^[0-9]{16,}[.]0$") }}
        else false
    end
{%- endmacro %}

{% macro number_of(column) -%}
    {#- SQL: the number that a text gives; 1,5 and 1,00 have a decimal comma, 1,000 is unreadable. -#}
    try_cast(
        case
            when {{ column }} like '%,%' and {{ matches("trim(" ~ column ~ ")", "^[+-]?[0-9]+,[0-9]{1,2}$") }}
            then replace({{ column }}, ',', '.')
            else {{ column }}
        end as double
    )
{%- endmacro %}

{% macro price_of(column) -%}
    {#- SQL: the price that a text gives; negative, infinite and absurdly large ones are unreadable. NaN exceeds all
        numbers. -#}
    {%- set number = number_of(column) -%} case when {{ number }} between 0 and 1e12 then {{ number }} end
{%- endmacro %}

{% macro whole_number_of(column) -%}
    {#- SQL: the integer that a text gives; 2.0 is 2, 2.5 is unreadable. -#}
    {%- set number = number_of(column) -%}
    case when {{ number }} = floor({{ number }}) then try_cast({{ number }} as integer) end
{%- endmacro %}
