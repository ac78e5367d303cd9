{# Materialization of recursive updates: the model's SQL is one month, run once per pending month, oldest first. With
   meta.pass, more than two months are one pass over batches of users instead (filter_pass.sql).
   meta.state names a macro that returns {column: type} of the carried state. The wide state has a table of its own.
   Columns that begin with c_ or a_ are state alone. meta.published is a condition of the published rows.
   The state is stored for the newest month and every December: a change in an older month restarts from there. #}
{% macro state_relation(recursive_model=this) %}
    {# The table of the carried state of a recursive model. #}
    {% do return(
        api.Relation.create(
            recursive_model.database,
            recursive_model.schema,
            recursive_model.identifier ~ "_cells",
            type="table",
        )
    ) %}
{% endmacro %}

{% macro recursive_models() %}
    {# The tables of every recursive model: [published columns, state, unfinished pass]. #}
    {% set found = [] %}
    {% for node in own_nodes() if node.config.materialized == "recursive_monthly" %}
        {% do found.append([node.name, node.name ~ "_cells", node.name ~ "_pass"]) %}
    {% endfor %}
    {% do return(found) %}
{% endmacro %}

{% macro previous_state() -%}
    {#- SQL: the state of the month before, read by the model. A unit test has no table: it overrides this macro. -#}
    (select * from {{ state_relation() if this.identifier else "state" }} where month = date '__previous_month__')
{%- endmacro %}

{% macro published_columns(step_table) %}
    {# The names of the columns that are not carried sums alone. #}
    {% set published = [] %}
    {% for column in adapter.get_columns_in_relation(step_table) if not column.name.startswith(("c_", "a_")) %}
        {% do published.append(column.name) %}
    {% endfor %}
    {% do return(published) %}
{% endmacro %}

{% macro write_update(target_relation, state_table, row, rows, state) %}
    {# Statements that replace a month by these rows, and its state. The state of the month before goes, except that of
       a December. None: the rows stay as they are; the state is not kept. #}
    {% set statements = write_month(target_relation, row, rows) if rows else [] %}
    {% if state %} {% do statements.extend(write_month(state_table, row, state)) %} {% endif %}
    {% if not modules.life_stage.keeps_state(row.previous_month) %}
        {% do statements.extend(drop_month(state_table, row.previous_month)) %}
    {% endif %}
    {% do return(statements) %}
{% endmacro %}

{% macro check_step(step_table, month, columns) %}
    {# Stops the run before a posterior that is no distribution is stored and carried into later months. #}
    {% set shares = [] %}
    {% for column in columns if column.startswith("p_") %} {% do shares.append(column) %} {% endfor %}
    {% if not shares %} {% do return("") %} {% endif %}
    {% set whole = "coalesce(abs(" ~ shares | join(" + ") ~ " - 1) < 1e-5, false)" %}
    {% set n_wrong = run_query("select count(*) as n from " ~ step_table ~ " where not " ~ whole).rows[0]["n"] %}
    {% if n_wrong %}
        {% do exceptions.raise_compiler_error(
            "LS-STA-004 "
            ~ n_wrong
            ~ " posteriors of "
            ~ month[:7]
            ~ " in "
            ~ this.identifier
            ~ " do not sum to one, because the newest model or the month's log-likelihoods are invalid: restore a backup; the month was not written"
        ) %}
    {% endif %}
{% endmacro %}

{% materialization recursive_monthly, default %}
    {# The table and the carried state of a recursive model. #}
    {% set target_relation, state_table = this.incorporate(type="table"), state_relation() %}
    {% set step_table = step_relation() %}
    {% set state_types = context[config.get("meta").state]() %}
    {% set state_columns = state_types.keys() | join(", ") %}
    {% set is_published = config.get("meta").get("published", "true") %}
    {% set targets = target_months() %}
    {% set rows = modules.life_stage.with_cumulative_hashes(targets) %}
    {% set updating, changed = modules.life_stage.to_update(rows, valid_months(this), valid_months(state_table)) %}
    {% set timer = namespace(start=modules.datetime.datetime.now(), shown=modules.datetime.datetime.now()) %}
    {{ run_hooks(pre_hooks) }}
    {% do drop_derived([target_relation, state_table], changed | length == targets | length) %}
    {% set columns = [] %}
    {% for name, type in state_types.items() %} {% do columns.append(name ~ " " ~ type) %} {% endfor %}
    {% do run_as_one(
        [
            "create table if not exists " ~ state_table ~ " (" ~ columns
            | join(", ") ~ ")" ~ partitioned_by_month()
        ]
    ) %}
    {% do drop_untargeted_months(target_relation, targets, input_hashes_of(this.identifier)) %}
    {% do drop_untargeted_months(state_table, targets, input_hashes_of(state_table.identifier)) %}
    {% set is_one_pass = has_pass(updating) %}
    {% if not is_one_pass %} {% do drop_unfinished_pass() %}
    {% else %}
        {% if load_relation(target_relation) is none %}
            {% do create_from_month(
                target_relation,
                step_table,
                modules.life_stage.sql_of_months(model["compiled_code"], updating[:1]),
            ) %}
        {% endif %}
        {% set inputs = context[config.get("meta").get("pass")]() %}
        {% set months = months_of_pass(updating, changed, inputs.rows) %}
        {% do start_pass(months, target_relation, state_table) %}
        {% set filling = pass_code(months, inputs, state_table, updating[0].previous_month) %}
        {% do commit_so_far() %}
        {% call statement("pass", language="python") %} {{ filling }}
        {% endcall %}
        {% do run_as_one(finish_pass(months, updating, target_relation, state_table)) %}
    {% endif %}
    {% set published = [] %}
    {% set is_absent = load_relation(target_relation) is none %}
    {% set steps = in_steps(updating or (rows[:1] if is_absent else [])) if not is_one_pass else [] %}
    {% for months in steps %}
        {% do show_progress(timer, months[0], loop.index, steps | length) %}
        {% do build_step(step_table, modules.life_stage.sql_of_months(model["compiled_code"], months)) %}
        {% if loop.first %} {% do published.extend(published_columns(step_table)) %} {% endif %}
        {% do check_step(step_table, months[0].month, published) %}
        {% set of_step = "select " ~ published | join(", ") ~ " from " ~ step_table %}
        {% if loop.first %} {% do create_when_absent(target_relation, of_step) %} {% endif %}
        {% for row in months if updating %}
            {% set rows_of_month = of_step ~ where_month(row) ~ " and " ~ is_published ~ stored_in_order("user_id") %}
            {% set state = "select " ~ state_columns ~ " from " ~ step_table ~ where_month(row) %}
            {% set is_kept = loop.last or modules.life_stage.keeps_state(row.month) %}
            {% do run_as_one(
                write_update(
                    target_relation,
                    state_table,
                    row,
                    rows_of_month if row.month in changed else none,
                    state if is_kept else none,
                )
            ) %}
        {% endfor %}
    {% endfor %}
    {% do drop_relation_if_exists(step_table) %}
    {% do commit_so_far() %}
    {% call noop_statement("main", changed | length ~ " months", "RECURSIVE", changed | length) %} {% endcall %}
    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target_relation, model) %} {% do commit_so_far() %}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
