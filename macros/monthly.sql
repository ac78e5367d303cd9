{# Materialization of tables by month: each month with a changed input hash is replaced in a transaction of its own. #}
{% macro this_month() -%}
    {#- SQL: the placeholder of the month that is built. -#}
    date '__month__'
{%- endmacro %}

{% macro build_log() %}
    {# The table of the input hash of every month of every monthly table. #}
    {% do return(api.Relation.create(target.database or none, target.schema, "build_log", type="table")) %}
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

{% macro write_month(relation, row, sql) %}
    {# Statements that replace the month by the rows of the query. The record is removed first and written last, so that
       only complete months count as built, also without transactions. #}
    {% do return(
        unrecord_month(relation.identifier, row.month)
        + fill_month(relation, row.month, sql)
        + record_month(relation.identifier, row.month, row.input_hash)
    ) %}
{% endmacro %}

{% macro drop_month(relation, month) %}
    {# Statements that remove the month and its record. #}
    {% do return(unrecord_month(relation.identifier, month) + empty_month(relation, month)) %}
{% endmacro %}

{% macro sql_of_month(sql, row) %}
    {# The model's SQL for one month: placeholders are replaced by the month and the other values of its row. #}
    {% set text = namespace(sql=sql) %}
    {% for name, value in row.items() %}
        {% set text.sql = text.sql | replace("__" ~ name ~ "__", value | string) %}
    {% endfor %}
    {% do return(text.sql) %}
{% endmacro %}

{% macro target_months() %}
    {# The model's target months, oldest first: [{month, input_hash, ...}], from the macro that its meta.months names.
       A row without an input hash only serves to create the empty table. #}
    {% set rows = context[config.get("meta").months]() or [{"month": "1970-01-01", "input_hash": none}] %}
    {% do return(rows if "staging" in model["fqn"] else archived(rows, input_hashes_of(this.identifier))) %}
{% endmacro %}

{% macro drop_untargeted_months(relation, targets, built) %}
    {# Drops months that left the calendar because all their rows were corrected away. #}
    {% set months = targets | map(attribute="month") | list %}
    {% for month in built if targets[0].input_hash is not none and month not in months %}
        {% do run_as_one(drop_month(relation, month)) %}
    {% endfor %}
{% endmacro %}

{% macro create_when_absent(relation, sql) %}
    {# Creates the table without rows if it does not exist. #}
    {% if load_relation(relation) is none %} {% do run_as_one([months_without_rows(relation, sql)]) %} {% endif %}
{% endmacro %}

{% macro show_progress(timer, row, done, total) %}
    {# Logs progress every ten seconds. `timer` holds `start` and `shown`. #}
    {% set now = modules.datetime.datetime.now() %}
    {% if (now - timer.shown).total_seconds() >= 10 %}
        {% set timer.shown = now %}
        {% do log(
            "    "
            ~ this.identifier
            ~ " at "
            ~ row.month[:7]
            ~ ": "
            ~ done
            ~ " of "
            ~ total
            ~ " months, "
            ~ (now - timer.start).seconds
            ~ " s",
            info=true,
        ) %}
    {% endif %}
{% endmacro %}

{% materialization monthly, default, supported_languages = ["sql", "python"] %}
    {# The table of a model whose months are independent; meta.months names the macro that lists them. A Python model is
       one month too. dbt lets only the materialization run it, so its rows are written to a step table first. #}
    {% set target_relation = this.incorporate(type="table") %}
    {% set step_table = step_relation() %}
    {% set targets, built, pending = target_months(), input_hashes_of(this.identifier), [] %}
    {% for row in targets if row.input_hash is not none and built.get(row.month) != row.input_hash %}
        {% do pending.append(row) %}
    {% endfor %}
    {% set timer = namespace(start=modules.datetime.datetime.now(), shown=modules.datetime.datetime.now()) %}
    {{ run_hooks(pre_hooks) }}
    {% for row in pending or (targets[:1] if load_relation(target_relation) is none else []) %}
        {% do show_progress(timer, row, loop.index, pending | length) %}
        {% set month_rows = sql_of_month(model["compiled_code"], row) %}
        {% if model["language"] == "python" %}
            {% do drop_relation_if_exists(step_table) %}
            {% do commit_so_far() %}
            {% set writing = create_table_as(false, step_table, month_rows, "python") %}
            {% call statement("python", language="python") %} {{ writing }}{% endcall %}
            {% do commit_so_far() %}
            {% set month_rows = "select * from " ~ step_table %}
        {% endif %}
        {% if loop.first %} {% do create_when_absent(target_relation, month_rows) %} {% endif %}
        {% if pending %} {% do run_as_one(write_month(target_relation, row, month_rows)) %} {% endif %}
    {% endfor %}
    {% if model["language"] == "python" %}
        {% do drop_relation_if_exists(step_table) %} {% do commit_so_far() %}
    {% endif %}
    {% do drop_untargeted_months(target_relation, targets, built) %}
    {% call noop_statement("main", pending | length ~ " months", "MONTHLY", pending | length) %} {% endcall %}
    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target_relation, model) %}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
