{# Migrations of stored tables from an older version of the project to this one: `dbt run-operation migrate_state`. #}
{% macro migrations() %}
    {# {version: statements that migrate from the version before}. Every change of stored columns or their meaning
       needs a new version; a test compares the stored columns with the version. #}
    {% set schema = api.Relation.create(target.database or none, target.schema) %}
    {% set rejections_counted = [
        "alter table if exists " ~ schema ~ ".source_file_months add column if not exists n_rejected bigint"
    ] %}
    {% do return(
        {
            2: rejections_counted + old_tombstones(),
            3: renamed_in_version_3(),
            4: sums_of_version_4(),
            5: households_of_version_5(),
            6: rounded_in_version_6(),
        }
    ) %}
{% endmacro %}

{% macro old_tombstones() %}
    {# Statements that create the tables of erased users under their names of version 2. #}
    {% set schema = api.Relation.create(target.database or none, target.schema) %}
    {% do return(
        [
            "create table if not exists "
            ~ schema
            ~ ".erased_users (user_digest string, salt string, erased_at timestamp)",
            "create table if not exists "
            ~ schema
            ~ ".forgotten_actions (month date, contents string, last_acted_on date)",
        ]
    ) %}
{% endmacro %}

{% macro renamed_in_version_3() %}
    {# Statements of version 3: tables and columns renamed to the terms of docs/glossary.md. No value is recomputed. #}
    {% set schema, statements = api.Relation.create(target.database or none, target.schema), [] %}
    {% set existing = tables_there(target.schema) if execute else [] %}
    {% set columns = {
        "built_months": {"fingerprint": "input_hash"},
        "forgotten_actions": {"contents": "content_hash"},
        "action_months": {"contents": "content_hash"},
        "stage_coefficients": {"regression": "model_name", "kind": "parameter_type"},
        "evaluation_coefficients": {"regression": "model_name", "kind": "parameter_type"},
        "birth_month_filter": {"log_evidence": "log_marginal_likelihood"},
        "birth_month_filter_cells": {"c_birth_evidence": "c_birth_log_ratio"},
        "dynamic_fusion": {"place": "rank"},
        "checkout_champions": {"evenness": "worst_to_best_ratio"},
        "stage_evidence": {},
    } %}
    {% for bin in age_bins() %} {% do columns.stage_evidence.update({"e_" ~ bin.name: "ll_" ~ bin.name}) %} {% endfor %}
    {% for table in columns if table in existing or table == "forgotten_actions" %}
        {% for old, new in columns[table].items() %}
            {% do statements.append("alter table " ~ schema ~ "." ~ table ~ " rename column " ~ old ~ " to " ~ new) %}
        {% endfor %}
    {% endfor %}
    {% for table in ["stage_coefficients", "evaluation_coefficients"] if table in existing %}
        {% for column, old, new in [
            ("model_name", "evidence", "log_likelihood"),
            ("parameter_type", "start", "initial_prior"),
            ("feature", "filter_freedom", "anchor_inverse_penalty"),
            ("feature", "evidence_iterations", "regression_iterations"),
        ] %}
            {% do statements.append(
                "update "
                ~ schema
                ~ "."
                ~ table
                ~ " set "
                ~ column
                ~ " = '"
                ~ new
                ~ "' where "
                ~ column
                ~ " = '"
                ~ old
                ~ "'"
                ~ (" and parameter_type in ('setting', 'diagnostic')" if column == "feature" else "")
            ) %}
        {% endfor %}
    {% endfor %}
    {% do statements.append(
        "update " ~ schema ~ ".built_months set model= 'stage_log_likelihoods' where model= 'stage_evidence'"
    ) %}
    {% for old, new in {
        "built_months": "build_log",
        "forgotten_actions": "erased_action_hashes",
        "stage_evidence": "stage_log_likelihoods",
        "month_models": "month_model_assignments",
    }.items() if old in existing or old == "forgotten_actions" %}
        {% do statements.append("alter table " ~ schema ~ "." ~ old ~ " rename to " ~ new) %}
    {% endfor %}
    {# Old names of tables and views that every run rebuilds. #}
    {% for name in [
        "belief_priors",
        "checkout_case_habits",
        "checkout_case_items",
        "checkout_case_scores",
        "checkout_cases",
        "checkout_gaps",
        "checkout_shown",
        "checkout_targets",
        "days",
        "evidence_weights",
        "fusion_gain",
        "halfway_ages",
        "learning_features",
        "learning_matrix",
        "learning_rows",
        "learning_vocabulary",
        "month_ledger",
        "numbered_features",
        "retraining_reasons",
        "stage_beliefs",
        "stage_contributions",
        "stage_models",
        "stage_weights",
        "unit_evidence",
    ] %}
        {% set relation = adapter.get_relation(target.database, target.schema, name) if execute else none %}
        {% if relation is not none %}
            {% do statements.append("drop " ~ relation.type ~ " " ~ schema ~ "." ~ name) %}
        {% endif %}
    {% endfor %}
    {% do return(statements) %}
{% endmacro %}

{% macro sums_of_version_4() %}
    {# Statements of version 4: columns for the terms of the readout and for the activity model. The next run scores all
       months again that are not archived, with their own models, and rebuilds the sums: probabilities stay the same. #}
    {% set schema = api.Relation.create(target.database or none, target.schema) %}
    {% set columns = {"stage_log_likelihoods": {}, "birth_month_filter": {"activity_code": "integer"}} %}
    {% for days in ["days", "unspecific_days", "purchase_days"] %}
        {% do columns.stage_log_likelihoods.update({days: "double"}) %}
    {% endfor %}
    {% for name in readout_term_columns() %} {% do columns.birth_month_filter.update({name: "float"}) %} {% endfor %}
    {% do columns.update({"birth_month_filter_cells": birth_month_state()}) %}
    {% set statements = [] %}
    {% for table, added in columns.items() %}
        {% for name, type in added.items() %}
            {% do statements.append(
                "alter table if exists "
                ~ schema
                ~ "."
                ~ table
                ~ " add column if not exists "
                ~ name
                ~ " "
                ~ type
            ) %}
        {% endfor %}
        {% do statements.append(
            "delete from "
            ~ build_log()
            ~ " where model= '"
            ~ table
            ~ "' and month >= date '"
            ~ archived_before()
            ~ "'"
        ) %}
    {% endfor %}
    {% do return(statements) %}
{% endmacro %}

{% macro households_of_version_5() %}
    {# Statements of version 5: the tables of the second-child filter are dropped, those of the household readout begin.
       The next run computes the posteriors of all months again that are not archived; their probabilities stay the
       same. #}
    {% set schema = api.Relation.create(target.database or none, target.schema) %}
    {% set columns = ["model_version string", "first_stage string", "n_families bigint", "n_unregistered bigint"] %}
    {% for name in household_figures() %} {% do columns.append(name ~ " double") %} {% endfor %}
    {% set statements = [
        "alter table if exists "
        ~ schema
        ~ ".birth_month_filter add column if not exists no_child_log_ratio double",
        "create table if not exists " ~ schema ~ ".household_weights (" ~ columns | join(", ") ~ ")",
        "delete from "
        ~ build_log()
        ~ " where model= 'birth_month_filter' and month >= date '"
        ~ archived_before()
        ~ "'",
    ] %}
    {% for table in ["pair_filter", "pair_filter_cells", "second_child_thresholds"] %}
        {% do statements.append("drop table if exists " ~ schema ~ "." ~ table) %}
        {% do statements.append("delete from " ~ build_log() ~ " where model= '" ~ table ~ "'") %}
    {% endfor %}
    {% do return(statements) %}
{% endmacro %}

{% macro rounded_in_version_6() %}
    {# Statements of version 6: stage_scores in single precision; the next run computes the tracks of dynamic_fusion again
       from them. Other results of older months are computed again by version 5, or keep more than six decimals.
       checkout_examples and checkout_neighbours are views now. #}
    {% set schema, statements = api.Relation.create(target.database or none, target.schema), [] %}
    {% for bin in age_bins() %}
        {% do statements.append(
            "alter table if exists " ~ schema ~ ".stage_scores alter column bin_" ~ bin.name ~ " type float"
        ) %}
    {% endfor %}
    {% do return(
        statements
        + [
            "delete from "
            ~ build_log()
            ~ " where model= 'dynamic_fusion' and month >= date '"
            ~ archived_before()
            ~ "'",
            "delete from " ~ build_log() ~ " where model in ('checkout_examples', 'checkout_neighbours')",
        ]
    ) %}
{% endmacro %}

{% macro state_version() %}
    {# The version of the stored tables that this project reads and writes. #}
    {% do return(6) %}
{% endmacro %}

{% macro state_version_found() %}
    {# The version of the stored tables; 0: none. Version 1 did not record itself. #}
    {% if load_relation(build_log()) %} {% do return(input_hashes_of("state").get("1970-01-01", 1) | int) %} {% endif %}
    {% set before_3 = adapter.get_relation(target.database, target.schema, "built_months") %}
    {% if before_3 is none %} {% do return(0) %} {% endif %}
    {% set sql = "select max(fingerprint) as version from " ~ before_3 ~ " where model= 'state'" %}
    {% do return((run_query(sql).rows[0]["version"] or 1) | int) %}
{% endmacro %}

{% macro migrate_state() %}
    {# An operation: migrates the stored tables to the version of this project, in one transaction. #}
    {% do fail_on_spark("a migration") %}
    {% set found = state_version_found() %}
    {% if found == 0 or found > state_version() %}
        {% do fail(
            "LS-STA-003",
            "there is nothing to migrate: the tables are " ~ ("of version " ~ found if found else "not there"),
            "name the warehouse by LIFE_STAGE_WAREHOUSE, or use the newer project",
        ) %}
    {% endif %}
    {% set all_statements = [] %}
    {% for version, statements in migrations() | dictsort if version > found %}
        {% do all_statements.extend(statements) %}
    {% endfor %}
    {% do all_statements.extend(unrecord_month("state", "1970-01-01")) %}
    {% do run_as_one(all_statements + record_month("state", "1970-01-01", state_version())) %}
    {% do log("Migrated the stored tables from version " ~ found ~ " to version " ~ state_version() ~ ".", info=true) %}
{% endmacro %}
