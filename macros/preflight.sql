{# Preflight checks of a run, and its errors: a code, the problem and its location, the remedy. #}
{% macro fail(code, what, remedy) %}
    {# Stops the run with code, problem and remedy. #}
    {% do exceptions.raise_compiler_error(code ~ " " ~ what ~ ": " ~ remedy ~ "; nothing was changed") %}
{% endmacro %}

{% macro fail_all(wrong) %}
    {# Stops the run with all the messages, if there are any. #}
    {% if wrong %} {% do exceptions.raise_compiler_error(wrong | join("\n") ~ "; nothing was changed") %} {% endif %}
{% endmacro %}

{% macro check_before_run() %}
    {# All preflight checks, then the steps that must precede the models. #}
    {% if execute %}
        {% do check_vars() %}
        {% do check_flags() %}
        {% do warn_of_plain_ids() %} {% do warn_of_old_names() %}
        {% do recover_swap() %}
        {% do check_state() %}
        {% do check_same_source() %}
        {% for table in ["actions", "items", "children"] %} {% do check_source(table) %} {% endfor %}
        {% for table in ["consents", "requests"] if has_source(table) %} {% do check_source(table) %} {% endfor %}
        {% do check_spark() %}
        {% do erase_users_without_consent() %}
        {% do run_as_one([create_build_log()] + create_tombstones()) %}
        {% if skips_unchanged() %} {% do run_as_one([create_node_hashes()]) %} {% endif %}
        {% if var("source_schema") and not input_hashes_of("source_schema") %}
            {% do run_as_one(record_month("source_schema", "1970-01-01", var("source_schema"))) %}
        {% endif %}
        {% if not input_hashes_of("settings") %}
            {% do run_as_one(
                record_month("settings", "1970-01-01", settings_hash())
                + record_month("state", "1970-01-01", state_version())
            ) %}
        {% endif %}
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
    {% for layer in layers() %} {% do fail_on_spark("var " ~ layer) %} {% endfor %}
    {% if var("checkout_months") %} {% do fail_on_spark("var checkout_months") %} {% endif %}
    {% if env_var("LIFE_STAGE_ID_KEY", "") %} {% do fail_on_spark("LIFE_STAGE_ID_KEY") %} {% endif %}
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
    {# Fails on unknown vars, and on values outside their pattern or range: only checked values reach SQL. #}
    {% set patterns = {
        "source_schema": "([A-Za-z_][A-Za-z0-9_]*)?",
        "business_timezone": "[A-Za-z0-9_+/-]+",
        "run_clock": "([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2})?",
        "consent_purpose": "[A-Za-z0-9_. -]+",
        "fusion_method": "birth_month_filter|dynamic_fusion",
        "fusion_merge": "mean|product",
        "through_month": "([0-9]{4}-(0[1-9]|1[0-2]))?",
        "backfill_from": "([0-9]{4}-(0[1-9]|1[0-2]))?",
        "evaluation_from": "([0-9]{4}-(0[1-9]|1[0-2]))?",
    } %}
    {% set ranges = {
        "max_quantity": [1, 1000000],
        "max_rejected_share": [0, 1],
        "train_share": [0.1, 1],
        "validation_share": [0, 0.5],
        "max_withdrawn_share": [0, 1],
        "min_probability": [0.05, 0.95],
        "min_first_probability": [0.05, 0.999],
        "min_further_probability": [0.05, 0.999],
        "min_training_users": [1, 10000000],
        "min_feature_support": [1, 1000000],
        "retrain_every_months": [0, 1200],
        "min_evidence": [0, 1200],
        "keep_actions_months": [0, 1200],
        "keep_features_months": [0, 1200],
        "stale_after_months": [1, 1200],
        "min_cell_users": [1, 1000000],
        "quality_floor": [0, 1],
        "checkout_stage_floor": [0, 1],
        "checkout_months": [0, 120],
        "checkout_queries": [1, 10000000],
        "checkout_label_days": [1, 28],
        "checkout_half_life_days": [1, 3650],
        "checkout_min_support": [1, 1000000],
        "checkout_seed": [0, 1000000],
        "checkout_new_places": [0, 10],
        "checkout_items": [2, 50000],
    } %}
    {% set switches = [
        "filter_tuning",
        "tune_penalties",
        "infer_pregnancy",
        "checkout_even_stages",
        "checkout_deep",
        "consents_required",
    ] %}
    {% set lists = ["stages", "age_bin_edges", "features", "experiments"] %}
    {% set known = patterns.keys() | list + ranges.keys() | list + switches + lists %}
    {% set accepted = known + renamed_vars().values() | list %}
    {% set wrong = [] %}
    {% for name in invocation_args_dict.get("vars", {}) if name not in accepted %}
        {% do wrong.append("LS-VAR-001 unknown var " ~ name ~ ": known are " ~ known | join(", ")) %}
    {% endfor %}
    {% for name, pattern in patterns.items() if not modules.re.fullmatch(pattern, value_of(name) | string) %}
        {% do wrong.append(invalid_var(name, "match " ~ pattern)) %}
    {% endfor %}
    {% for name, range in ranges.items() if value_of(name) is boolean or value_of(name) is not number or not range[0] <= value_of(name) <= range[1] %}
        {% do wrong.append(invalid_var(name, "be a number from " ~ range[0] ~ " to " ~ range[1])) %}
    {% endfor %}
    {% for name in switches if var(name) is not boolean %}
        {% do wrong.append(invalid_var(name, "be true or false")) %}
    {% endfor %}
    {% if var("keep_features_months") is number and 0 < var("keep_features_months") < 13 %}
        {% do wrong.append(
            invalid_var(
                "keep_features_months",
                "be 0 or at least 13, because a month is compared with the same month a year before",
            )
        ) %}
    {% endif %}
    {% if var("source_schema") == target.schema %}
        {% do wrong.append(invalid_var("source_schema", "name a schema other than the warehouse's own")) %}
    {% endif %}
    {% do fail_all(wrong) %}
    {% do check_calendar() %}
    {% do check_retention() %}
    {% do check_stages() %}
    {% do check_experiments() %}
    {% do check_features() %}
{% endmacro %}

{% macro invalid_var(name, targets) -%}
    {#- The message of a var with an invalid value. -#}
    {{ "LS-VAR-002 var " ~ name ~ " is '" ~ value_of(name) ~ "': it must " ~ targets }}
{%- endmacro %}

{% macro check_features() %}
    {# Fails if a feature file is not listed in var features, since its loss would go unnoticed. dbt checks the
       reverse. #}
    {% set names = var("features") %}
    {% if names is string or names is not sequence or names | unique | list | length != names | length %}
        {% do fail("LS-VAR-002", "var features is " ~ names, "give a list of distinct names") %}
    {% endif %}
    {% for node in graph.nodes.values() if node.resource_type == "model" and node.fqn[1:3] == ["life_stage", "features"] %}
        {% if node.name.startswith("feature_") and node.name not in names %}
            {% do fail(
                "LS-FEA-001",
                node.original_file_path ~ " is not listed",
                "add " ~ node.name ~ " to var features in dbt_project.yml, or remove the file",
            ) %}
        {% endif %}
    {% endfor %}
{% endmacro %}

{% macro check_calendar() %}
    {# Fails if a time, a time zone or a month in the vars is invalid. #}
    {% if run_query("select try_cast('" ~ clock_text() ~ "' as timestamp) as now").rows[0]["now"] is none %}
        {% do fail("LS-VAR-002", "var run_clock is '" ~ var("run_clock") ~ "'", "give a valid time") %}
    {% endif %}
    {% if business_timezone() not in modules.pytz.all_timezones %}
        {% do fail("LS-VAR-002", "var business_timezone is '" ~ business_timezone() ~ "'", "give an IANA name") %}
    {% endif %}
    {% for name in ["through_month", "backfill_from", "evaluation_from"] if value_of(name) > clock_text()[:7] %}
        {% do fail("LS-VAR-002", "var " ~ name ~ " is '" ~ value_of(name) ~ "'", "it must not lie in the future") %}
    {% endfor %}
{% endmacro %}

{% macro check_retention() %}
    {# Fails if a var needs months past retention. #}
    {% set needed = [["backfill_from", value_of("backfill_from"), archived_before()]] %}
    {% do needed.append(["evaluation_from", var("evaluation_from"), retained_from("keep_features_months")]) %}
    {% for experiment in var("experiments") if experiment is mapping %}
        {% do needed.append(["experiments", experiment.first_month | string, retained_from("keep_actions_months")]) %}
    {% endfor %}
    {% for name, month, kept in needed if month and month < kept[:7] %}
        {% do fail(
            "LS-VAR-005",
            "var "
            ~ name
            ~ " needs "
            ~ month
            ~ ", but actions or features of months before "
            ~ kept[:7]
            ~ " were dropped",
            "give a later month (var keep_actions_months, keep_features_months)",
        ) %}
    {% endfor %}
{% endmacro %}

{% macro check_experiments() %}
    {# Fails if an entry of var experiments is invalid. #}
    {% set targets, wrong = var("experiments") if var("experiments") is sequence else [{}], [] %}
    {% for experiment in targets %}
        {% if experiment is not mapping or not (
            modules.re.fullmatch("[a-z][a-z0-9_]*", experiment.name | string)
            and modules.re.fullmatch("[0-9]{4}-(0[1-9]|1[0-2])", experiment.first_month | string)
            and experiment.treated_share is number
            and 0 < experiment.treated_share < 1
            and targets | selectattr("name", "equalto", experiment.name) | list | length == 1
        ) %}
            {% do wrong.append(
                "LS-VAR-004 experiment "
                ~ experiment
                ~ " in var experiments is invalid: give each a distinct name in lower case, a first_month YYYY-MM and a treated_share between 0 and 1"
            ) %}
        {% endif %}
    {% endfor %}
    {% do fail_all(wrong) %}
{% endmacro %}

{% macro check_stages() %}
    {# Fails if var stages or age_bin_edges is invalid or differs from the contract of user_stages. #}
    {% set edges, names = var("age_bin_edges"), stages() | map(attribute="name") | list %}
    {% if edges | reject(
        "number"
    ) | list or edges | sort != edges or edges | unique | list | length != edges | length %}
        {% do fail("LS-VAR-003", "var age_bin_edges is " ~ edges, "give months in ascending order") %}
    {% endif %}
    {% for stage in stages() %}
        {% set is_named = (
            modules.re.match("^[a-z][a-z0-9_]*$", stage.name | string)
            and names.count(stage.name) == 1
            and stage.name not in ["not_yet", "graduated"] + states_outside()
        ) %}
        {% set has_ages = (
            stage.from_month is number and stage.to_month is number and stage.from_month < stage.to_month
        ) %}
        {% set follows = loop.first or stage.from_month == loop.previtem.to_month %}
        {% set is_of_one_kind = var("infer_pregnancy") or stage.from_month >= 0 %}
        {% if not (
            is_named
            and has_ages
            and is_of_one_kind
            and follows
            and edges[1] <= stage.from_month
            and stage.to_month <= edges[-2]
        ) %}
            {% do fail(
                "LS-VAR-003",
                "stage " ~ stage ~ " is invalid",
                "give distinct names in lower case, begin each stage where the one before ends, stay within the inner age_bin_edges, and let no stage span birth if infer_pregnancy is false",
            ) %}
        {% endif %}
    {% endfor %}
    {% for node in graph.nodes.values() if node.name == "user_stages" %}
        {% set promised = [] %}
        {% for column in node.columns if column.startswith("p_") %} {% do promised.append(column[2:]) %} {% endfor %}
        {% set promised = promised | reject("in", states_outside()) | list %}
        {% if promised | sort != names | sort %}
            {% do fail(
                "LS-VAR-003",
                "var stages names " ~ names | join(", "),
                "models/life_stage/marts/_marts.yml has other p_ columns: run `make stages`",
            ) %}
        {% endif %}
    {% endfor %}
{% endmacro %}

{% macro check_source(table) %}
    {# Fails if the table is missing in the source or violates the contract. #}
    {% if var("source_schema") %}
        {% set relation = adapter.get_relation(target.database, var("source_schema"), table) %}
        {% if relation is none %}
            {% do fail(
                "LS-SRC-001",
                "table " ~ var("source_schema") ~ "." ~ table ~ " does not exist",
                "create it or correct var source_schema",
            ) %}
        {% endif %}
        {% do check_columns(table, relation, "select * from " ~ relation) %}
    {% else %}
        {% set files = source_files(table) %}
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
        {% for file in files_to_read(table, files) %} {% do check_columns(table, file, read_files([file])) %}
        {% endfor %}
    {% endif %}
{% endmacro %}

{% macro check_same_source() %}
    {# Fails if the source is not the one that the warehouse was built from, since months of two shops would be mixed.
       #}
    {% set inventory = adapter.get_relation(target.database, target.schema, "source_file_months") %}
    {% set known = input_hashes_of("source_schema").values() | list if load_relation(build_log()) else [] %}
    {% if var("source_schema") and known and known[0] != var("source_schema") %}
        {% do fail(
            "LS-SRC-005",
            "this warehouse was built from another source, the schema " ~ known[0],
            "set LIFE_STAGE_WAREHOUSE to another file and LIFE_STAGE_PUBLISHED to another path",
        ) %}
    {% endif %}
    {% set source = "actions" if var("source_schema") else source_directory() ~ "/" %}
    {% if inventory is not none %}
        {% set sql = (
            "select min(file) as file from " ~ inventory ~ " having count(case when left(file, " ~ source
            | length ~ ") = " ~ quoted([source]) ~ " then 1 end) = 0"
        ) %}
        {% for row in run_query(sql).rows if row["file"] is not none %}
            {% do fail(
                "LS-SRC-005",
                "this warehouse was built from another source, which held " ~ row["file"],
                "set LIFE_STAGE_WAREHOUSE to another file and LIFE_STAGE_PUBLISHED to another path or, if the folder was moved, link its old name to it",
            ) %}
        {% endfor %}
    {% endif %}
{% endmacro %}

{% macro check_columns(table, where, sql) %}
    {# Fails if a required column is missing or a time column has another type. #}
    {% set types = {} %}
    {% for column in adapter.get_column_schema_from_query(sql) if column.name != "source_file" %}
        {% do types.update({column.name | lower: column.dtype}) %}
    {% endfor %}
    {% if types.keys() | list == ["column0"] or "," in types | first %}
        {% do fail(
            "LS-SRC-006",
            where ~ " is empty, or its rows differ in their number of columns",
            "deliver the complete file again",
        ) %}
    {% endif %}
    {% for column in contract_columns(table) %}
        {% if column.name not in types and column.meta.get("required") %}
            {% do fail(
                "LS-SRC-002",
                table ~ "." ~ column.name ~ " is missing in " ~ where ~ ": " ~ describe_columns(table, types),
                "rename the column, or map it in a view named by var source_schema",
            ) %}
        {% elif column.data_type in ("timestamp", "date") and column.name in types and not is_time_type(
            types[column.name]
        ) %}
            {% do fail(
                "LS-SRC-003",
                table ~ "." ~ column.name ~ " in " ~ where ~ " is " ~ types[column.name],
                "give a timestamp, a date or ISO text",
            ) %}
        {% endif %}
    {% endfor %}
{% endmacro %}

{% macro describe_columns(table, types) -%}
    {#- The columns of a file as text. Without a header row they are data of a user, so they are not printed. -#}
    {%- set known = contract_columns(table) | map(attribute="name") | select("in", types) | list -%}
    {{
        (
            "its columns are " ~ types.keys() | join(", ")
            if known
            else "none of its column names is known, perhaps it has no header row"
        )
    }}
{%- endmacro %}

{% macro is_time_type(type) -%}
    {#- True if the type holds a time, a date or text. -#}
    {{ return((type | upper).startswith(("TIMESTAMP", "DATE", "VARCHAR", "STRING", "NULL"))) }}
{%- endmacro %}

{% macro check_version() %}
    {# Fails if the stored tables are of another version of the project. #}
    {% set built = load_relation(build_log()) %}
    {% set found = state_version_found() %}
    {% if found not in (0, state_version()) and (not built or input_hashes_of("settings")) %}
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
    {% set recorded = input_hashes_of("settings").values() | list if load_relation(build_log()) else [] %}
    {% if recorded and recorded[0] != settings_hash() %}
        {% do fail(
            "LS-STA-002",
            "stages, age_bin_edges, business_timezone, train_share, validation_share or the key LIFE_STAGE_ID_KEY differ from those this warehouse was built with",
            "restore them, or start a new warehouse by LIFE_STAGE_WAREHOUSE",
        ) %}
    {% endif %}
{% endmacro %}

{% macro check_state() %}
    {# Fails if a state table is missing after a finished run: rebuilt without its history, it would differ silently. #}
    {% do check_settings() %}
    {% set built = load_relation(build_log()) %}
    {% set runs = adapter.get_relation(target.database, target.schema, "model_runs") %}
    {% if runs is none or run_query("select count(*) as n from " ~ runs).rows[0]["n"] == 0 %}
        {% do return("") %}
    {% endif %}
    {% set names, by_month = ["build_log", "erased_users", "erased_action_hashes"], recursive_models() | sum(
        start=[]
    ) %}
    {% for node in graph.nodes.values() if node.resource_type == "model" and node.config.full_refresh is false %}
        {% if node.config.materialized == "monthly" %} {% do by_month.append(node.name) %}
        {% elif node.config.materialized != "recursive_monthly" %} {% do names.append(node.name) %}
        {% endif %}
    {% endfor %}
    {# A table by month exists once a month of it is recorded. #}
    {% set recorded = (
        run_query("select distinct model from " ~ built).columns[0].values() | list if built else by_month
    ) %}
    {% for name in by_month if name in recorded %} {% do names.append(name) %} {% endfor %}
    {% for name in names if adapter.get_relation(target.database, target.schema, name) is none %}
        {% do fail(
            "LS-STA-001",
            "state table " ~ name ~ " is missing although model_runs records a finished run",
            "restore the warehouse from a backup (make restore), rebuild the state of a recursive model by life-stage rebuild-posteriors, or start a new warehouse by LIFE_STAGE_WAREHOUSE",
        ) %}
    {% endfor %}
{% endmacro %}

{% macro settings_hash() %}
    {# The hash of the settings of all stored months; the key for user ids enters by the pseudonym of a fixed text. #}
    {% set settings = [stages(), age_bins(), business_timezone(), var("train_share"), var("validation_share")] %}
    {% if has_id_key() %}
        {% do settings.append(run_query("select " ~ pseudonym("'life_stage'") ~ " as mark").rows[0]["mark"]) %}
    {% endif %}
    {% do return(local_md5(tojson(settings))) %}
{% endmacro %}
