{# Facts of the run: its clock, its time zone, its final steps. #}
{% macro setting(name) %}
    {# The value of a setting, named by its group and its key: the var of that name, else the entry of the group. #}
    {% do return(modules.life_stage.setting(var, name)) %}
{% endmacro %}

{% macro clock_text() %}
    {# The run clock in UTC as text; var run_clock fixes it for tests and reruns. #}
    {% do return(var("run_clock") or run_started_at.strftime("%Y-%m-%d %H:%M:%S")) %}
{% endmacro %}

{% macro clock() -%}
    {#- SQL: the run clock, in UTC. -#}
    timestamp '{{ clock_text() }}'
{%- endmacro %}

{% macro started_at() -%}
    {#- SQL: the start of the run, in UTC. -#}
    timestamp '{{ run_started_at.strftime("%Y-%m-%d %H:%M:%S.%f") }}'
{%- endmacro %}

{% macro seconds_so_far() -%}
    {#- SQL: the seconds since the run's start, taken when the calling model starts. -#}
    {{ (modules.datetime.datetime.now(run_started_at.tzinfo) - run_started_at).total_seconds() }}
{%- endmacro %}

{% macro business_timezone() -%}
    {#- The IANA name of var business_timezone. -#}
    {{ return(var("business_timezone")) }}
{%- endmacro %}

{% macro finish_run(results) %}
    {# Final steps of a run: leftovers, its failure, the place of the source, retention, notices. #}
    {% do drop_leftovers() %}
    {% do record_failure(results) %}
    {% for result in results if result.node.name == "source_file_months" and result.status == "success" %}
        {% do record_source() %}
    {% endfor %}
    {% if execute and modules.life_stage.ledger_facts(target.path or "", state_of("ledger"), "").is_behind %}
        {% do operate("apply_ledger") %}  {# it has published #}
    {% endif %}
    {% do drop_old_months(results) %} {% do report_missing_model() %} {% do report_shifts() %}
    {% do report_corrections() %}
{% endmacro %}

{% macro log_phases() %}
    {# Logs the phase of each node for `life-stage run`, which reads dbt's log in JSON. #}
    {% if flags.LOG_FORMAT == "json" %}
        {% do log("phases " ~ tojson(modules.life_stage.phases_of(selected_resources, graph.nodes)), info=true) %}
    {% endif %}
{% endmacro %}

{% macro record_failure(results) %}
    {# Records a failed run in model_runs, by its first error, in place of the row that it may have written before it
       published. Without model_runs among its nodes a run has no row. #}
    {% set errors, row = [], {"status": "failed"} %}
    {% for result in results if result.node.package_name == "life_stage" and result.status in ("error", "fail", "runtime error") %}
        {% set node = result.node %}
        {% do errors.extend(modules.life_stage.errors_of(node.name, node.resource_type, result.message or "")) %}
    {% endfor %}
    {% if errors %}
        {% for node in own_nodes() if node.name == "model_runs" and node.unique_id in selected_resources %}
            {% do row.update({"run_id": invocation_id, "dbt_version": dbt_version, "error_code": errors[0].code}) %}
            {% do row.update({"error": errors[0].message | replace("\\", "/"), "seconds": seconds_so_far() | trim}) %}
            {% set values = [] %}
            {% for name, column in node.columns.items() %}
                {% set value = quoted([row[name]]) if name in row else "null" %}
                {% if name == "started_at" %} {% set value = started_at() %} {% endif %}
                {% do values.append("cast(" ~ value ~ " as " ~ column.data_type ~ ") as " ~ name) %}
            {% endfor %}
            {% do put_rows(ref("model_runs"), "run_id", "select " ~ values | join(", ")) %}
        {% endfor %}
    {% endif %}
{% endmacro %}

{% macro finished(runs) %}
    {# SQL: the runs of model_runs that ended without an error. #}
    {% do return("(select * from " ~ runs ~ " where status = 'succeeded') as finished_runs") %}
{% endmacro %}

{% macro drop_leftovers() %}
    {# Drops tables that dbt leaves after a Python model or a kill, except the backup of a missing table
       (recover_swap). #}
    {% set names = tables_there(own_schema()) if execute else [] %}
    {% for name in names if "__dbt_" in name and name.removesuffix("__dbt_backup") in names %}
        {% do adapter.drop_relation(own_table(name)) %}
    {% endfor %}
    {# dbt-duckdb writes those of Python models without a schema. #}
    {% set models = own_nodes() | map(attribute="name") | list if execute and is_package() else [] %}
    {% set names = tables_there("main") if models else [] %}
    {% for name in names if "__dbt_tmp" in name and name.split("__dbt_tmp")[0] in models %}
        {% do adapter.drop_relation(own_table(name).incorporate(path={"schema": "main"})) %}
    {% endfor %}
{% endmacro %}

{% macro report_missing_model() %}
    {# Logs the number of missing training users if there is no model. The run itself succeeds. #}
    {% set models, training_rows = ref("model_registry"), ref("training_rows") %}
    {% if execute and load_relation(models) and run_query("select count(*) as n from " ~ models).rows[0]["n"] == 0 %}
        {% set n_users = run_query(
            "select count(distinct user_id) as n from "
            ~ training_rows
            ~ " where split = 'train' and is_active and age_months >= "
            ~ age_bins()[0].from_month
            ~ " and age_months < "
            ~ age_bins()[-1].to_month
        ).rows[0]["n"] %}
        {% set n_missing = [setting("training_min_users") - n_users, 0] | max %}
        {% set has_choice = setting("training_labels") == "registrations" %}
        {% do log(
            "LS-ML-001 no model was trained: "
            ~ n_users
            ~ " training users with one labelled child, training_min_users is "
            ~ setting("training_min_users")
            ~ ", "
            ~ (n_missing ~ " are missing" if n_missing else "which is enough, but training failed (LS-ML-002)")
            ~ ". The quality tables are built, the stage tables are empty, published stages are unchanged."
            ~ (
                " Var training_labels: age_words also trains on users whose age words agree."
                if has_choice
                else ""
            ),
            info=true,
        ) %}
    {% endif %}
{% endmacro %}

{% macro report_shifts() %}
    {# Logs the shares unlike the months around them that var rejections_on_shift lets pass. #}
    {% set checks = ref("delivery_checks") %}
    {% if execute and load_relation(checks) %}
        {% for message in run_query("select message from " ~ checks ~ " where is_wrong").columns[0].values() %}
            {% do log(message, info=true) %}
        {% endfor %}
    {% endif %}
{% endmacro %}

{% macro corrected_months(runs, assignments) %}
    {# The first and the last month that is scored by a model of which a quarter of the training months has been
       corrected since, and a newer model, if any; none: there are no such months. #}
    {% set models = ref("model_registry") %}
    {% if not existing(runs) or not existing(assignments) %} {% do return(none) %} {% endif %}
    {% set sql %}
        with
            trained as (select model_version, min(started_at) as trained_at from {{ runs }} group by model_version),
            compared as (
                select
                    models.model_version,
                    models.trained_through,
                    count(case when months.built_at > trained.trained_at then 1 end) >= 0.25 * count(*) as is_outdated
                from {{ models }} as models
                inner join trained on models.model_version = trained.model_version
                inner join
                    {{ build_log() }} as months
                    on months.model = 'user_months'
                    and months.month <= models.trained_through
                group by models.model_version, models.trained_through
            )
        select
            min(assigned.month) as first_month,
            max(assigned.month) as last_month,
            (
                select max(model_version)
                from compared
                where trained_through > (select max(trained_through) from compared where is_outdated)
            ) as newer_model
        from {{ assignments }} as assigned
        inner join compared on assigned.model_version = compared.model_version
        where compared.is_outdated
        having count(*) > 0
    {% endset %}
    {% do return(rows_as_dicts(sql) | first | default(none)) %}
{% endmacro %}

{% macro report_corrections() %}
    {# Logs which months are scored by models that were trained on what has been corrected since. #}
    {% set months = corrected_months(ref("model_runs"), ref("month_model_assignments")) %}
    {% if months %}
        {% do log(
            "LS-ML-003 models of the months from "
            ~ months.first_month[:7]
            ~ " to "
            ~ months.last_month[:7]
            ~ " were trained before a quarter of their training months was corrected: "
            ~ (
                "var backfill_from scores them again, training_rescore_after_corrections does so by itself"
                if months.newer_model
                else "once the next model is trained, score them again by var backfill_from or by training_rescore_after_corrections"
            ),
            info=true,
        ) %}
    {% endif %}
{% endmacro %}

{% macro has_rows(relation) %}
    {# True if the table has a row. #}
    {% do return(execute and run_query("select 1 as n from " ~ relation ~ " limit 1").rows | length > 0) %}
{% endmacro %}

{% macro existing(relation) %}
    {# The relation, or none before the run that first builds it. #}
    {% do return(load_relation(relation) if execute and relation else none) %}
{% endmacro %}
