{# Preflight checks of a run, and its errors: a code, the problem and its location, the remedy. #}
{% macro fail(code, what, remedy) %}
    {# Stops the run with code, problem and remedy. #}
    {% do exceptions.raise_compiler_error(code ~ " " ~ what ~ ": " ~ remedy ~ "; " ~ modules.life_stage.outcome()) %}
{% endmacro %}

{% macro fail_all(wrong) %}
    {# Stops the run with all the messages, if there are any. #}
    {% if wrong %}
        {% do exceptions.raise_compiler_error(wrong | join("\n") ~ "; " ~ modules.life_stage.outcome()) %}
    {% endif %}
{% endmacro %}

{% macro check_before_run() %}
    {# All preflight checks, then the steps that must precede the models. #}
    {% if execute %}
        {% do check_vars() %}
        {% do check_flags() %}
        {% do check_spark() %}
        {% do warn_of_plain_ids() %}
        {% do recover_swap() %}
        {% set ledger = modules.life_stage.ledger_facts(target.path or "", state_of("ledger"), clock_text()[:10]) %}
        {% do fail_all(ledger.wrong) %}
        {% do check_clock(ledger.clock) %}
        {% do check_state() %}
        {% do check_same_source() %}
        {% if has_source("consents") %} {% do check_source("consents") %} {% endif %}
        {# What users asked for comes before the next delivery, which may be wrong. A first run has nobody to erase. #}
        {% set is_first = not state_of("settings") %}
        {% if not is_first and ledger.has_users %} {% do operate("apply_ledger") %} {% endif %}
        {% if not is_first %} {% do erase_users_without_consent() %} {% endif %}
        {% for table in ["actions", "items"] %} {% do check_source(table) %} {% endfor %}
        {% for table in ["children", "requests", "answers"] if has_source(table) %}
            {% do check_source(table) %}
        {% endfor %}
        {% do warn_of_no_children() %}
        {% if is_first %} {% do erase_users_without_consent() %} {% endif %}
        {% if ledger.is_behind %} {% do operate("apply_ledger", {"today": clock_text()[:10]}) %} {% endif %}
        {% do run_as_one([create_project_state(), create_build_log()] + create_tombstones()) %}
        {% do adapter.cache_added(erased_users()) %}  {# is_erased looks for it #}
        {% if skips_unchanged() %} {% do run_as_one([create_node_hashes()]) %} {% endif %}
        {% if setting("source_schema") and not state_of("source_schema") %}
            {% do run_as_one(record_state("source_schema", setting("source_schema"))) %}
        {% endif %}
        {% if state_of("clock") != clock_text()[:10] %}
            {% do run_as_one(record_state("clock", clock_text()[:10])) %}
        {% endif %}
        {% if not state_of("source_path") %} {% do record_source() %} {% endif %}
        {% if not state_of("settings") %}
            {% do run_as_one(
                record_state("settings", settings_hash()) + record_state("state_version", state_version())
            ) %}
        {% endif %}
        {% do log_phases() %}
    {% endif %}
{% endmacro %}

{% macro check_clock(newest_in_ledger) %}
    {# Fails if the clock is more than a day behind that of an earlier run, also of a run after the backup that was
       restored: actions, births and consents would be judged by two times. #}
    {% set newest = [state_of("clock") or "", newest_in_ledger] | max %}
    {% set a_day_later = modules.datetime.datetime.fromisoformat(clock_text()) + modules.datetime.timedelta(days=1) %}
    {% if newest and a_day_later.strftime("%Y-%m-%d") < newest %}
        {% do fail(
            "LS-RUN-006",
            "the clock is at " ~ clock_text() ~ ", an earlier run's was at " ~ newest,
            "correct the clock or var run_clock; if an earlier one was wrong, restore an older backup and write the ledger again by life-stage rebuild-ledger",
        ) %}
    {% endif %}
{% endmacro %}

{% macro check_flags() %}
    {# Fails on dbt flags that read tables in part, because partial months would replace complete ones. #}
    {% for flag in ["empty", "sample"] if invocation_args_dict.get(flag) %}
        {% do fail("LS-VAR-006", "--" ~ flag ~ " reads a part of every table", "run without it") %}
    {% endfor %}
{% endmacro %}

{% macro check_spark() %}
    {# Fails if the run needs a feature that is not supported on Spark. #}
    {% if has_source("consents") %} {% do fail_on_spark("a source with consents") %} {% endif %}
    {% for layer in layers() %} {% do fail_on_spark("var retention_" ~ layer ~ "_months") %} {% endfor %}
    {% if setting("checkout_months") %} {% do fail_on_spark("var checkout_months") %} {% endif %}
    {% for table in ["actions", "items", "children"] if mapping_of(table) %}
        {% do fail_on_spark("a mapping") %}
    {% endfor %}
    {% if env_var("LIFE_STAGE_ID_KEY", "") %} {% do fail_on_spark("LIFE_STAGE_ID_KEY") %} {% endif %}
{% endmacro %}

{% macro warn_of_no_children() %}
    {# Logs a notice if the source has no registered children. #}
    {% if not has_source("children") %}
        {% do log(
            "LS-SRC-013 the source has no table children: without registered children no model is trained and no stage is inferred; the run checks the data and builds features and the checkout",
            info=true,
        ) %}
    {% endif %}
{% endmacro %}

{% macro warn_of_plain_ids() %}
    {# Logs a notice if user ids are stored without pseudonyms. #}
    {% if not has_id_key() %}
        {% do log(
            "LS-PRI-003 user ids are stored unchanged: set LIFE_STAGE_ID_KEY for pseudonyms (docs/privacy.md)",
            info=true,
        ) %}
    {% endif %}
{% endmacro %}

{% macro check_vars() %}
    {# Fails on unknown vars and wrong values (python/life_stage/engine/settings.py). #}
    {% set values, contract = {}, [] %}
    {% for name in modules.life_stage.names %}
        {% set is_in_a_group = name.split("_")[0] in modules.life_stage.groups %}
        {% do values.update({name: setting(name) if is_in_a_group else var(name)}) %}
    {% endfor %}
    {% for node in own_nodes() if node.name == "user_stages" %} {% do contract.extend(node.columns) %} {% endfor %}
    {% set run = {
        "schema": own_schema(),
        "clock": clock_text(),
        "timezones": modules.pytz.all_timezones,
        "states_outside": states_outside(),
        "columns_of_user_stages": contract,
        "nodes": dict(graph.nodes.items() | selectattr("1.package_name", "equalto", "life_stage")),
        "first_actions_month": retained_from("actions"),
        "first_features_month": retained_from("features"),
    } %}
    {% set given = (invocation_args_dict.get("vars") or {}).keys() | list %}
    {% for group in modules.life_stage.groups %}
        {% for key in var(group) %} {% do given.append(group ~ "_" ~ key) %} {% endfor %}
    {% endfor %}
    {% for name in modules.life_stage.renamed if var(name, none) is not none and name not in given %}
        {% do given.append(name) %}
    {% endfor %}
    {% do fail_all(modules.life_stage.wrong_settings(values, given, run)) %}
{% endmacro %}

{% macro check_source(table) %}
    {# Fails if the table is missing in the source or violates the contract. #}
    {% if reads_tables() %}
        {% if not has_source(table) %}
            {% set where = input_model(table) or setting("source_schema") ~ "." ~ table %}
            {% do fail(
                "LS-SRC-001",
                "table " ~ where ~ " does not exist",
                "create it, correct var source_schema, or map it by life-stage map",
            ) %}
        {% endif %}
        {% set mapping, relation = mapping_of(table), source_relation(table) %}
        {% if reads_models() and not load_relation(relation) %}
            {% do fail(
                "LS-SRC-001",
                "table " ~ relation ~ " does not exist",
                "build it: dbt build --select +host_inputs",
            ) %}
        {% endif %}
        {% do check_columns(table, mapping.file if mapping else relation, "select * from " ~ relation) %}
    {% else %}
        {% set files = source_files(table) %}
        {% set unread = files_to_read(table, files) %}
        {% do fail_all(modules.life_stage.wrong_mapping(table, unread)) %}
        {% if not files %}
            {% do fail(
                "LS-SRC-001",
                table ~ " is missing in " ~ source_directory(),
                "set LIFE_STAGE_SOURCE to a directory that holds "
                ~ table
                ~ ".parquet, "
                ~ table
                ~ ".csv or a folder "
                ~ table,
            ) %}
        {% endif %}
        {% set mapping = mapping_of(table) %}
        {% for rows in modules.life_stage.mapped_rows(table, unread) %}
            {% do check_columns(table, mapping.file, rows) %}
        {% endfor %}
        {% for file in files_of_other_columns(unread) if not mapping %}
            {% do check_columns(table, file, read_files([file], table, is_in_contract=false)) %}
        {% endfor %}
    {% endif %}
{% endmacro %}

{% macro check_same_source() %}
    {# Fails if the source is not the one that the warehouse was built from, since months of two shops would be mixed.
       A folder is known by its path, by its real path, or by its files. #}
    {% set inventory = load_relation(own_table("source_file_months")) %}
    {% set schema, known = setting("source_schema"), state_of("source_schema") %}
    {% set other = namespace(source="the schema " ~ known if schema and known and known != schema else none) %}
    {% if inventory is not none and other.source is none %}
        {% set is_of_source = "(known.file = 'actions') = " ~ ("true" if reads_tables() else "false") %}
        {% set sql = "select min(known.file) as file from " ~ inventory ~ " as known" %}
        {% for row in run_query(
            sql ~ " having count(case when " ~ is_of_source ~ " then 1 end) = 0"
        ).rows if row["file"] is not none %}
            {% set other.source = "which held " ~ row["file"] %}
        {% endfor %}
        {% if not reads_tables() and not is_known_path() and other.source is none %}
            {% set found = run_query(files_still_there(inventory)).rows[0] %}
            {% if found["n_found"] * 2 < found["n_files"] %}
                {% set other.source = (
                    "in "
                    ~ (state_of("source_path") or "another folder")
                    ~ ": "
                    ~ found["n_found"]
                    ~ " of its "
                    ~ found["n_files"]
                    ~ " files are in "
                    ~ source_directory()
                ) %}
            {% endif %}
        {% endif %}
    {% endif %}
    {% if other.source is not none %}
        {% do fail(
            "LS-SRC-005",
            "this warehouse was built from another source, " ~ other.source,
            "set LIFE_STAGE_WAREHOUSE to another file and LIFE_STAGE_PUBLISHED to another path or, if the folder was moved, link its old name to it",
        ) %}
    {% endif %}
{% endmacro %}

{% macro is_known_path() %}
    {# True if the path of the source, or its real path, is that of the last run. #}
    {% for key, place in modules.life_stage.source_identity().items() if state_of(key) == place %}
        {% do return(true) %}
    {% endfor %}
    {% do return(false) %}
{% endmacro %}

{% macro files_still_there(inventory) %}
    {# SQL: the number of files of the last run, and of those that the source holds with the same name and size. #}
    select count(*) as n_files, count(listed.file) as n_found
    from (select distinct file, split_part(version, ' ', 1) as size from {{ inventory }} where is_present) as known
    left join
        ({{ file_versions(source_files("actions")) }}) as listed
        on known.file = listed.file
        and known.size = split_part(listed.version, ' ', 1)
{% endmacro %}

{% macro record_source() %}
    {# Records where the source is, for check_same_source. #}
    {% set places = {} if reads_tables() else modules.life_stage.source_identity() %}
    {% for key, place in places.items() if state_of(key) != place %}
        {% do run_as_one(record_state(key, place)) %}
    {% endfor %}
{% endmacro %}

{% macro check_columns(table, where, sql) %}
    {# Fails if a required column is missing, or a column has a type that its values cannot be read from. #}
    {% do fail_all(modules.life_stage.wrong_columns(table, where, types_of(sql), contract_columns(table))) %}
{% endmacro %}

{% macro check_version() %}
    {# Fails if the stored tables are of another version of the project. #}
    {% set found = state_version_found() %}
    {% if found not in (0, state_version()) %}
        {% do fail(
            "LS-STA-003",
            "the tables of this warehouse are of version " ~ found ~ ", the project's of " ~ state_version(),
            (
                "use the newer project"
                if found > state_version()
                else "run life-stage backup, then life-stage migrate"
            ),
        ) %}
    {% endif %}
{% endmacro %}

{% macro check_settings() %}
    {# Fails if the stored tables are of another version, or settings differ from those of the warehouse: stored months
       and pseudonyms would not match new ones. #}
    {% do check_version() %}
    {% set recorded = state_of("settings") %}
    {% if recorded and recorded != settings_hash() %}
        {% do fail(
            "LS-STA-002",
            "stages, age_bin_edges, business_timezone, training_share, training_validation_share or the key LIFE_STAGE_ID_KEY differ from those this warehouse was built with",
            "restore them, or start a new warehouse by LIFE_STAGE_WAREHOUSE",
        ) %}
    {% endif %}
{% endmacro %}

{% macro check_state() %}
    {# Fails if a state table is missing after a finished run: rebuilt without its history, it would differ silently. #}
    {% do check_settings() %}
    {% set built = load_relation(build_log()) %}
    {% set runs = load_relation(own_table("model_runs")) %}
    {% if runs is none or not has_rows(finished(runs)) %} {% do return("") %} {% endif %}
    {% set names, by_month = [
        "build_log",
        "project_state",
        "erased_users",
        "erased_action_hashes",
    ], recursive_models() | sum(start=[]) %}
    {% for node in own_nodes() if node.resource_type == "model" and node.config.full_refresh is false %}
        {% if node.config.materialized == "monthly" %} {% do by_month.append(node.name) %}
        {% elif node.config.materialized != "recursive_monthly" %} {% do names.append(node.name) %}
        {% endif %}
    {% endfor %}
    {# A table by month exists once a month of it is recorded. #}
    {% set recorded = (
        run_query("select distinct model from " ~ built).columns[0].values() | list if built else by_month
    ) %}
    {% for name in by_month if name in recorded %} {% do names.append(name) %} {% endfor %}
    {% for name in names if load_relation(own_table(name)) is none %}
        {% do fail(
            "LS-STA-001",
            "state table " ~ name ~ " is missing although model_runs records a finished run",
            "restore the warehouse from a backup (life-stage restore), rebuild the state of a recursive model by life-stage rebuild-posteriors, or start a new warehouse by LIFE_STAGE_WAREHOUSE",
        ) %}
    {% endfor %}
{% endmacro %}

{% macro settings_hash() %}
    {# The hash of the settings of all stored months; the key for user ids enters by the pseudonym of a fixed text. #}
    {% set settings = [
        stages(),
        age_bins(),
        business_timezone(),
        setting("training_share"),
        setting("training_validation_share"),
    ] %}
    {% if has_id_key() %}
        {% do settings.append(run_query("select " ~ pseudonym("'life_stage'") ~ " as mark").rows[0]["mark"]) %}
    {% endif %}
    {% do return(local_md5(tojson(settings))) %}
{% endmacro %}
