{# Materialization of tables by month: each month with a changed input hash is replaced in a transaction of its own. #}
{% macro this_month() -%}
    {#- SQL: the placeholder of the month that is built. -#}
    date '__month__'
{%- endmacro %}

{% macro pending_months() -%}
    {#- SQL: the placeholder of the list of all pending months. A model that reads it is run once for all of them. -#}
    (__pending_months__)
{%- endmacro %}

{% macro in_steps(rows) %}
    {# The pending months in steps, each run at once: one month a step, or as many as have a million user-months if the
       model can do so, because wide rows beyond the memory limit go to disk. #}
    {% if "__pending_months__" not in model["compiled_code"] %} {% do return(rows | batch(1) | list) %} {% endif %}
    {% set n_users = users_of_a_month() if rows | length > 1 else 0 %}
    {% do return(rows | batch([1000000 // [n_users, 1] | max, 1] | max) | list) %}
{% endmacro %}

{% macro users_of_a_month() %}
    {# The largest number of users with a posterior in a month. #}
    {% set posteriors = load_relation(this.incorporate(path={"identifier": "birth_month_filter"})) %}
    {% if not posteriors %} {% do return(0) %} {% endif %}
    {% set by_month = "select count(*) as n from " ~ posteriors ~ " group by month" %}
    {% do return(run_query("select coalesce(max(n), 0) as n from (" ~ by_month ~ ") as months").rows[0]["n"] | int) %}
{% endmacro %}

{% macro build_step(step_table, sql) %}
    {# Runs the SQL of a step into its table. #}
    {% do drop_relation_if_exists(step_table) %}
    {% do commit_so_far() %}
    {% do run_as_one([create_step(step_table, sql)]) %}
{% endmacro %}

{% macro where_month(row) %}
    {# SQL: a condition on the month of a row. #}
    {% do return(" where month = date '" ~ row.month ~ "'") %}
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

{% macro target_months() %}
    {# The model's target months, oldest first: [{month, input_hash, ...}], from the macro that its meta.months names.
       A row without an input hash only serves to create the empty table. With meta.reads the input hash covers code
       and parents (macros/unchanged.sql). #}
    {% set rows = context[config.get("meta").months]() or [{"month": "1970-01-01", "input_hash": none}] %}
    {% if modules.life_stage.is_derived(model) %}
        {% do return(with_input_hashes(rows)) %} {% elif "staging" in model["fqn"] %} {% do return(rows) %}
    {% endif %}
    {% do return(modules.life_stage.with_retention(rows, input_hashes_of(this.identifier), archived_before())) %}
{% endmacro %}

{% macro valid_months(relation) %}
    {# {month: input hash} of the months that may stay as they are. A derived table is rebuilt if it is selected or
       missing; without the hashes of its parents (Spark) always. #}
    {% set rebuilds = (
        invocation_args_dict.get("select")
        or flags.FULL_REFRESH
        or not skips_unchanged()
        or load_relation(this) is none
    ) %}
    {% do return({} if modules.life_stage.is_derived(model) and rebuilds else input_hashes_of(relation.identifier)) %}
{% endmacro %}

{% macro drop_untargeted_months(relation, targets, built) %}
    {# Drops months that left the calendar because all their rows were corrected away. #}
    {% set months = targets | map(attribute="month") | list %}
    {% for month in built if targets[0].input_hash is not none and month not in months %}
        {% do run_as_one(drop_month(relation, month)) %}
    {% endfor %}
{% endmacro %}

{% macro drop_derived(relations, is_rebuilt) %}
    {# Drops a derived table and its records before all its months are rebuilt, also with other columns. #}
    {% if modules.life_stage.is_derived(model) and is_rebuilt %}
        {% for relation in relations %}
            {% for month in input_hashes_of(relation.identifier) %}
                {% do run_as_one(unrecord_month(relation.identifier, month)) %}
            {% endfor %}
            {% do drop_relation_if_exists(load_relation(relation)) %} {% do commit_so_far() %}
        {% endfor %}
    {% endif %}
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
    {% set targets = target_months() %}
    {% set pending = modules.life_stage.pending(targets, valid_months(this)) %}
    {% set timer = namespace(start=modules.datetime.datetime.now(), shown=modules.datetime.datetime.now()) %}
    {{ run_hooks(pre_hooks) }}
    {% do drop_derived([this], pending | length == targets | length) %}
    {% set steps = in_steps(pending or (targets[:1] if load_relation(target_relation) is none else [])) %}
    {% for rows in steps %}
        {% do show_progress(timer, rows[0], loop.index, steps | length) %}
        {% set month_rows = modules.life_stage.sql_of_months(model["compiled_code"], rows) %}
        {% set has_step_table = model["language"] == "python" or rows | length > 1 or needs_step(month_rows) %}
        {% if model["language"] == "python" %}
            {% do drop_relation_if_exists(step_table) %}
            {% do commit_so_far() %}
            {% set writing = create_table_as(false, step_table, month_rows, "python") %}
            {% call statement("python", language="python") %} {{ writing }}{% endcall %}
            {% do commit_so_far() %}
        {% elif has_step_table %} {% do build_step(step_table, month_rows) %}
        {% endif %}
        {% if has_step_table %} {% set month_rows = "select * from " ~ step_table %} {% endif %}
        {% if loop.first %} {% do create_when_absent(target_relation, month_rows) %} {% endif %}
        {% for row in rows if pending %}
            {% set of_month = month_rows ~ where_month(row) if rows | length > 1 else month_rows %}
            {% if has_step_table %} {% do check_output(step_table, where_month(row)) %} {% endif %}
            {% set checked = "" if has_step_table else where_month(row) %}
            {% do run_as_one(write_month(target_relation, row, of_month), checked) %}
        {% endfor %}
        {% if has_step_table %} {% do drop_relation_if_exists(step_table) %} {% do commit_so_far() %} {% endif %}
    {% endfor %}
    {% do drop_untargeted_months(target_relation, targets, input_hashes_of(this.identifier)) %}
    {% call noop_statement("main", pending | length ~ " months", "MONTHLY", pending | length) %} {% endcall %}
    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target_relation, model) %} {% do commit_so_far() %}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
