{# A recursive model with more than two months to update, in one pass over batches of users instead of month by month
   (python/life_stage/filtering/filter_pass.py, DuckDB only). meta.pass names the Python module of its arithmetic and the macro
   of its input. The tables of an unfinished pass stay, recorded in project_state with the hash of what it computes. #}
{% macro users_per_batch() %}
    {# Users whose rows are computed in memory and stored at once. #}
    {% do return(20000) %}
{% endmacro %}

{% macro has_pass(updating) %}
    {# True if these months are computed in one pass. #}
    {% do return(runs_python_in_batches() and "pass" in config.get("meta") and updating | length > 2) %}
{% endmacro %}

{% macro birth_month_pass() %}
    {# Input of the pass of birth_month_filter: the rows of a month, and the tables of parameters by model. #}
    {% set columns = ["user_id", "month", "days", "unspecific_days", "purchase_days"] %}
    {% for bin in age_bins() %} {% do columns.append("ll_" ~ bin.name) %} {% endfor %}
    {% set source = " from " ~ ref("stage_log_likelihoods") ~ " where month = " ~ this_month() %}
    {% do return(
        {
            "rows": "select " ~ columns | join(", ") ~ source,
            "parameters": {
                "readout_weights": ref("readout_weights"),
                "prior_by_tenure": ref("prior_by_tenure"),
                "activity_log_likelihoods": ref("activity_log_likelihoods"),
            },
            "settings": {},
        }
    ) %}
{% endmacro %}

{% macro presence_pass() %}
    {# Input of the pass of presence_filter: the rows of a month. Users without a feature in the vocabulary have a row
       too. #}
    {% set columns = ["active.user_id", "active.month"] %}
    {% for bin in age_bins() %}
        {% do columns.append("coalesce(log_likelihoods.ll_" ~ bin.name ~ ", 0) as ll_" ~ bin.name) %}
    {% endfor %}
    {% set rows %}
        select {{ columns | join(", ") }}
        from (select user_id, month from {{ ref("stage_log_likelihoods") }} where month = {{ this_month() }}) as active
        left join
            (select * from {{ ref("presence_log_likelihoods") }} where month = {{ this_month() }}) as log_likelihoods
            on active.user_id = log_likelihoods.user_id
    {% endset %}
    {% do return({"rows": rows, "parameters": {}, "settings": {}}) %}
{% endmacro %}

{% macro fusion_pass() %}
    {# Input of the pass of dynamic_fusion: the rows of a month. #}
    {% set columns = ["user_id", "month"] %}
    {% for stage in stages() %}
        {% do columns.append("cast(" ~ stage_mass("bin_", stage) ~ " as double) as m_" ~ stage.name) %}
    {% endfor %}
    {% set rows = (
        "select " ~ columns | join(", ") ~ " from " ~ ref("stage_scores") ~ " where month = " ~ this_month()
    ) %}
    {% do return({"rows": rows, "parameters": {}, "settings": {"fusion_merge": setting("fusion_merge")}}) %}
{% endmacro %}

{% macro pass_relation(part="") %}
    {# A table of the pass: published rows, "_rows" (input) or "_cells" (state). #}
    {% do return(this.incorporate(path={"identifier": this.identifier ~ "_pass" ~ part}, type="table")) %}
{% endmacro %}

{% macro create_from_month(target_relation, step_table, month_rows) %}
    {# Creates the table of published columns without rows, from the SQL of a month. #}
    {% do drop_relation_if_exists(step_table) %}
    {% do run_as_one([months_without_rows(step_table, month_rows)]) %}
    {% do create_when_absent(
        target_relation, "select " ~ published_columns(step_table) | join(", ") ~ " from " ~ step_table
    ) %}
{% endmacro %}

{% macro months_of_pass(updating, changed, rows_sql) %}
    {# The months as filter_pass.py reads them. The state is kept as by months: of every December and the last month. #}
    {% set months = [] %}
    {% for row in updating %}
        {% do months.append(
            {
                "month": row.month,
                "input_hash": row.input_hash,
                "model_version": row.model_version,
                "is_published": row.month in changed,
                "is_stored": loop.last or modules.life_stage.keeps_state(row.month),
                "rows": modules.life_stage.sql_of_months(rows_sql, [row]),
            }
        ) %}
    {% endfor %}
    {% do return(months) %}
{% endmacro %}

{% macro start_pass(months, target_relation, state_table) %}
    {# Creates the tables of the pass, unless they are those of an unfinished pass of the same months. #}
    {% set hash, relation = local_md5(tojson(months) ~ state_version()), pass_relation() %}
    {% if state_of(relation.identifier) != hash or load_relation(relation) is none %}
        {% set statements = drop_pass() %}
        {% set tables = {"": target_relation, "_cells": state_table, "_rows": "(" ~ months[0].rows ~ ")"} %}
        {% for part, rows in tables.items() %}
            {% do statements.append("create table " ~ pass_relation(part) ~ " as select * from " ~ rows ~ " limit 0") %}
        {% endfor %}
        {% do run_as_one(statements + record_state(relation.identifier, hash)) %}
    {% endif %}
{% endmacro %}

{% macro drop_unfinished_pass() %}
    {# Drops the tables of a pass that its months no longer need. #}
    {% if runs_python_in_batches() and state_of(pass_relation().identifier) %}
        {% do run_as_one(drop_pass()) %}
    {% endif %}
{% endmacro %}

{% macro drop_pass() %}
    {# Statements that drop the tables of a pass and its record. #}
    {% set statements = forget_state(pass_relation().identifier) %}
    {% for part in ["", "_cells", "_rows"] %}
        {% do statements.append("drop table if exists " ~ pass_relation(part)) %}
    {% endfor %}
    {% do return(statements) %}
{% endmacro %}

{% macro pass_code(months, inputs, state_table, previous_month) %}
    {# Python, in the form of a dbt model: fills the tables of the pass. #}
    {% set versions, parameters = months | map(attribute="model_version") | unique | list, {} %}
    {% for name, relation in inputs.parameters.items() %}
        {% set of_models = " where model_version in (" ~ quoted(versions) ~ ")" %}
        {% do parameters.update({name: "select * from " ~ relation ~ of_models}) %}
    {% endfor %}
    {% set plan = {
        "model": this.identifier,
        "months": months,
        "stages": stages(),
        "age_bins": age_bins(),
        "parameters": parameters,
        "settings": inputs.settings,
        "state": "select * from " ~ state_table ~ " where month = date '" ~ previous_month ~ "'",
        "gathered": pass_relation("_rows") | string,
        "published": pass_relation() | string,
        "stored": pass_relation("_cells") | string,
        "users_per_batch": users_per_batch(),
    } %}
    {% do return(
        [
            "from life_stage.filtering import filter_pass, "
            ~ config.get("meta").get("pass")
            ~ " as arithmetic",
            "plan_text = " ~ tojson(tojson(plan)),
            "def dbtObj(load): return load",
            "def model(dbt, session): filter_pass.run(session, arithmetic.Pass, plan_text)",
            "def materialize(rows, session): return rows",
        ]
        | join("\n")
    ) %}
{% endmacro %}

{% macro finish_pass(months, updating, target_relation, state_table) %}
    {# Statements that replace the months by the rows of the pass, sorted by user, and drop its tables. #}
    {% set statements, published = [], adapter.get_columns_in_relation(target_relation) %}
    {% for row in updating %}
        {% set columns, of_month = [], where_month(row) ~ stored_in_order("user_id") %}
        {% set of_run = {"model_version": quoted([row.model_version]), "run_id": quoted([invocation_id])} %}
        {% for column in published %}
            {% do columns.append(of_run.get(column.name, column.name) ~ " as " ~ column.name) %}
        {% endfor %}
        {% set rows = "select " ~ columns | join(", ") ~ " from " ~ pass_relation() ~ of_month %}
        {% set state = "select * from " ~ pass_relation("_cells") ~ of_month %}
        {% do statements.extend(
            write_update(
                target_relation,
                state_table,
                row,
                rows if months[loop.index0].is_published else none,
                state if months[loop.index0].is_stored else none,
            )
        ) %}
    {% endfor %}
    {% do return(statements + drop_pass()) %}
{% endmacro %}
