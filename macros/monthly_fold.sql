{# A running state carried from month to month: the model's SQL is one month, run once per pending month, oldest first.
   meta.state names a macro that returns {column: type} of the carried state. It is wide, so it lives in a table of its
   own beside the model, and only for the newest month and every December: there a change in an older month restarts. #}
{% macro state_relation(fold=this) %}
    {% do return(api.Relation.create(fold.database, fold.schema, fold.identifier ~ "_cells", type="table")) %}
{% endmacro %}

{% macro rebuild_beliefs() %}
    {# An operation: the next run folds all months anew from the stored scores and evidence, also where a state was lost. #}
    {% if frozen_before() > "0001-01-01" %}
        {% do stop(
            "LS-KEP-001",
            "actions or features of months before " ~ frozen_before() ~ " were dropped",
            "beliefs cannot be folded anew from the beginning: restore a backup",
        ) %}
    {% endif %}
    {% set statements = [] %}
    {% for name in folds() | sum(start=[]) %}
        {% for month in fingerprints_of(name) %} {% do statements.extend(month_unrecorded(name, month)) %} {% endfor %}
    {% endfor %}
    {% do run_as_one(statements) %}
    {% do log("The next run folds all months anew.", info=true) %}
{% endmacro %}

{% macro folds() %}
    {# The tables of every fold: its published columns, and its state. #}
    {% set found = [] %}
    {% for node in graph.nodes.values() if node.config.materialized == "monthly_fold" %}
        {% do found.append([node.name, node.name ~ "_cells"]) %}
    {% endfor %}
    {% do return(found) %}
{% endmacro %}

{% macro beliefs_before() -%}
    (select * from {{ state_relation() }} where month = date '__previous_month__')
{%- endmacro %}

{% macro chained(wanted) %}
    {# Fingerprints made cumulative: a month counts as built only from the very history it was built from, so that a
       fold killed half-way never leaves later months that look right. #}
    {% set before, rows = namespace(fingerprint="", month="1900-01-01"), [] %}
    {% for row in wanted %}
        {% if row.is_frozen %} {% set before.fingerprint = row.fingerprint %}
        {% elif row.fingerprint is not none %}
            {% set before.fingerprint = local_md5(before.fingerprint ~ row.fingerprint) %}
        {% endif %}
        {% do rows.append(dict(row, previous_month=before.month, fingerprint=before.fingerprint)) %}
        {% set before.month = row.month %}
    {% endfor %}
    {% do return(rows) %}
{% endmacro %}

{% macro months_to_fold(rows, built, built_state) %}
    {# All months after the newest usable state before the first change; those before the change only rebuild the state. #}
    {% set changed, restart = [], namespace(at=0) %}
    {% for row in rows if row.fingerprint and (changed or built.get(row.month) != row.fingerprint) %}
        {% do changed.append(row.month) %}
    {% endfor %}
    {% for row in rows %}
        {% if row.month not in changed and built_state.get(row.month) == row.fingerprint %}
            {% set restart.at = loop.index %}
        {% endif %}
    {% endfor %}
    {% do return((rows[restart.at :] if changed else [], changed)) %}
{% endmacro %}

{% macro check_step(step_table, month, columns) %}
    {# A belief that is no distribution would be carried into every later month: it stops the run before it is stored. #}
    {% set shares = [] %}
    {% for column in columns if column.startswith("p_") %} {% do shares.append(column) %} {% endfor %}
    {% set whole = "coalesce(abs(" ~ shares | join(" + ") ~ " - 1) < 1e-9, false)" %}
    {% set n_wrong = run_query("select count(*) as n from " ~ step_table ~ " where not " ~ whole).rows[0]["n"] %}
    {% if n_wrong %}
        {% do exceptions.raise_compiler_error(
            "LS-STA-004 "
            ~ n_wrong
            ~ " beliefs of "
            ~ month[:7]
            ~ " in "
            ~ this.identifier
            ~ " do not sum to one: the newest model or the month's evidence is broken, restore a backup; the month was not written"
        ) %}
    {% endif %}
{% endmacro %}

{% materialization monthly_fold, default, supported_languages = ["sql", "python"] %}
    {# The text of a Python model is one month too; it finds the state in the table that __state__ names. #}
    {% set target_relation, state_table = this.incorporate(type="table"), state_relation() %}
    {% set step_table = step_relation() %}
    {% set state_types = context[config.get("meta").state]() %}
    {% set state_columns = state_types.keys() | join(", ") %}
    {% set wanted, is_absent = months_wanted(), load_relation(target_relation) is none %}
    {% set rows = chained(wanted) %}
    {% set folding, changed = months_to_fold(
        rows, fingerprints_of(this.identifier), fingerprints_of(state_table.identifier)
    ) %}
    {% set timer = namespace(start=modules.datetime.datetime.now(), shown=modules.datetime.datetime.now()) %}
    {{ run_hooks(pre_hooks) }}
    {% set columns = [] %}
    {% for name, type in state_types.items() %} {% do columns.append(name ~ " " ~ type) %} {% endfor %}
    {% do run_as_one(
        ["create table if not exists " ~ state_table ~ " (" ~ columns | join(", ") ~ ")" ~ in_months()]
    ) %}
    {% do forget_unwanted(target_relation, wanted, fingerprints_of(this.identifier)) %}
    {% do forget_unwanted(state_table, wanted, fingerprints_of(state_table.identifier)) %}
    {% set published = [] %}
    {% for row in folding or (rows[:1] if is_absent else []) %}
        {% do show_progress(timer, row, loop.index, folding | length) %}
        {% set month_rows = sql_of_month(
            model["compiled_code"], dict(row, state=state_table.schema ~ "." ~ state_table.identifier)
        ) %}
        {% do drop_relation_if_exists(step_table) %}
        {% do keep_so_far() %}
        {% set writing = create_table_as(false, step_table, month_rows, model["language"]) %}
        {% call statement("step", language=model["language"]) %} {{ writing }}{% endcall %}
        {% do keep_so_far() %}
        {% if loop.first %}
            {% for column in adapter.get_columns_in_relation(step_table) if not column.name.startswith("c_") %}
                {% do published.append(column.name) %}
            {% endfor %}
        {% endif %}
        {% do check_step(step_table, row.month, published) %}
        {% set of_step = "select " ~ published | join(", ") ~ " from " ~ step_table %}
        {% if loop.first %} {% do create_when_absent(target_relation, of_step) %} {% endif %}
        {% set statements, state = [], "select " ~ state_columns ~ " from " ~ step_table %}
        {% if row.month in changed %}
            {% do statements.extend(month_written(target_relation, row, of_step)) %}
        {% endif %}
        {% if folding %}
            {% do statements.extend(month_written(state_table, row, state)) %}
            {% if row.previous_month[5:7] != "12" %}
                {% do statements.extend(month_forgotten(state_table, row.previous_month)) %}
            {% endif %}
        {% endif %}
        {% do run_as_one(statements) %}
    {% endfor %}
    {% do drop_relation_if_exists(step_table) %}
    {% do keep_so_far() %}
    {% call noop_statement("main", changed | length ~ " months", "FOLD", changed | length) %} {% endcall %}
    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target_relation, model) %}
    {{ return({"relations": [target_relation]}) }}
{% endmaterialization %}
