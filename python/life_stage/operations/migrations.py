"""Migrations of stored tables from an older version of the project to this one.

Every change of stored columns or their meaning needs a new version; a test compares the stored columns with the version
(macro `state_version`).
"""

import os

from life_stage.operations import Warehouse
from life_stage.paths import SOURCE, source_identity, sql_literal

Step = tuple[str, str]  # a table, "" for none, and a statement that runs if the table exists

KIND = """
    select case table_type when 'VIEW' then 'view' else 'table' end from information_schema.tables
    where table_catalog = current_database() and table_schema = current_schema() and table_name = ?
"""
MOVE = """
    insert into project_state select '{new}', max({value}) from build_log where model = '{old}' having count(*) > 0
"""
COEFFICIENTS = ("stage_coefficients", "evaluation_coefficients")
RENAMED_COLUMNS = {
    "built_months": {"fingerprint": "input_hash"},
    "forgotten_actions": {"contents": "content_hash"},
    "action_months": {"contents": "content_hash"},
    "stage_coefficients": {"regression": "model_name", "kind": "parameter_type"},
    "evaluation_coefficients": {"regression": "model_name", "kind": "parameter_type"},
    "birth_month_filter": {"log_evidence": "log_marginal_likelihood"},
    "birth_month_filter_cells": {"c_birth_evidence": "c_birth_log_ratio"},
    "dynamic_fusion": {"place": "rank"},
    "checkout_champions": {"evenness": "worst_to_best_ratio"},
}
RENAMED_VALUES = [
    "model_name = 'log_likelihood' where model_name = 'evidence'",
    "parameter_type = 'initial_prior' where parameter_type = 'start'",
    "feature = 'anchor_inverse_penalty' where feature = 'filter_freedom' and {of_settings}",
    "feature = 'regression_iterations' where feature = 'evidence_iterations' and {of_settings}",
]
RENAMED_TABLES = {
    "built_months": "build_log",
    "forgotten_actions": "erased_action_hashes",
    "stage_evidence": "stage_log_likelihoods",
    "month_models": "month_model_assignments",
}
# Old names of tables and views that every run rebuilds.
REBUILT = [
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
]
SECOND_CHILD = ("pair_filter", "pair_filter_cells", "second_child_thresholds")
PASSES = ("birth_month_filter", "presence_filter", "dynamic_fusion")  # an unfinished one begins again
LIMITS = {"retention_actions_months": "first_actions_month", "retention_features_months": "first_features_month"}
COPY = "create table copied as select * replace ({name} as source_file), false as is_conflicting from {{table}}"
EVENTS = {"event_no": "bigint", "run_id": "string", "logged_at": "timestamp", "month": "date", "user_id": "string"}
EVENTS |= {"child_no": "integer", "change": "string", "previous_stage": "string", "stage": "string"}
EVENTS |= {"stage_no": "integer", "probability": "double", "source": "string", "reason": "string"}
FACTS = {"state": "state_version", "settings": "settings", "source_schema": "source_schema", "consents": "consents"}


def migrate(warehouse: Warehouse, found: int, wanted: int, **columns: list[str] | dict[str, str]) -> None:
    """Migrate the stored tables from the version found to the one wanted, in one transaction; columns: of `versions`.

    Raises ValueError LS-STA-003 if there is nothing to migrate.
    """
    if not 0 < found <= wanted:
        tables = f"of version {found}" if found else "not there"
        raise ValueError(
            f"LS-STA-003 there is nothing to migrate, the tables are {tables}: name the warehouse by"
            " LIFE_STAGE_WAREHOUSE, or use the newer project; nothing was changed"
        )
    with warehouse.transaction():
        for version, steps in versions(first_month(warehouse), **columns).items():
            for table, statement in steps if version > found else ():
                kind = warehouse.values(KIND, table)
                if kind or not table:
                    warehouse.session.execute(statement.format(table=table, kind="".join(kind)))
        refuse_absolute_names(warehouse)
        warehouse.record("state_version", wanted)
        for key, place in source_identity().items():
            warehouse.record(key, place)
    print(f"Migrated the stored tables from version {found} to version {wanted}.")


def versions(
    first_month: str,
    bins: list[str],
    readout_terms: list[str],
    birth_month_state: dict[str, str],
    household_weights: dict[str, str],
) -> dict[int, list[Step]]:
    """The steps from the version before, by version. Months before first_month are archived: none is computed again.

    bins: names of the age bins; the others: columns of birth_month_filter, its state, and household_weights.
    """
    evidence = {"stage_evidence": {f"e_{name}": f"ll_{name}" for name in bins}}
    likelihood_days = {name: "double" for name in ("days", "unspecific_days", "purchase_days")}
    terms = {"activity_code": "integer"} | {name: "float" for name in readout_terms}
    return {
        2: [
            add_column("source_file_months", "n_rejected", "bigint"),
            create("erased_users", {"user_digest": "string", "salt": "string", "erased_at": "timestamp"}),
            create("forgotten_actions", {"month": "date", "contents": "string", "last_acted_on": "date"}),
        ],
        # The terms of docs/glossary.md. No value is computed again.
        3: [
            *(
                (table, f"alter table {{table}} rename column {old} to {new}")
                for table, names in (RENAMED_COLUMNS | evidence).items()
                for old, new in names.items()
            ),
            *((table, f"update {{table}} set {value}") for table in COEFFICIENTS for value in renamed_values()),
            ("built_months", "update {table} set model = 'stage_log_likelihoods' where model = 'stage_evidence'"),
            *((old, f"alter table {{table}} rename to {new}") for old, new in RENAMED_TABLES.items()),
            *((table, "drop {kind} {table}") for table in REBUILT),
        ],
        # Terms of the readout and the activity model. The next run scores all months again, each with its own model,
        # and rebuilds the sums: probabilities stay the same.
        4: [
            *(add_column("stage_log_likelihoods", name, type_) for name, type_ in likelihood_days.items()),
            *(add_column("birth_month_filter", name, type_) for name, type_ in terms.items()),
            *(add_column("birth_month_filter_cells", name, type_) for name, type_ in birth_month_state.items()),
            *(
                unrecord(table, first_month)
                for table in ("stage_log_likelihoods", "birth_month_filter", "birth_month_filter_cells")
            ),
        ],
        # The household readout replaces the second-child filter; the next run computes the posteriors again, with the
        # same probabilities.
        5: [
            add_column("birth_month_filter", "no_child_log_ratio", "double"),
            create("household_weights", household_weights),
            unrecord("birth_month_filter", first_month),
            *((table, "drop table {table}") for table in SECOND_CHILD),
            *(unrecord(table) for table in SECOND_CHILD),
        ],
        # Single precision: the next run computes the tracks of dynamic_fusion again. Other results of older months are
        # computed again by version 5, or keep more than six decimals. Two tables are views now.
        6: [
            *(("stage_scores", f"alter table {{table}} alter column bin_{name} type float") for name in bins),
            unrecord("dynamic_fusion", first_month),
            unrecord("checkout_examples"),
            unrecord("checkout_neighbours"),
        ],
        # Facts about the warehouse leave the build log; index tables replace indexed_features.
        7: [
            ("indexed_features", "drop {kind} {table}"),
            *((f"{table}_pass{part}", "drop {kind} {table}") for table in PASSES for part in ("", "_rows", "_cells")),
            create("project_state", {"key": "string", "value": "string"}),
            *(("", MOVE.format(value="input_hash", old=old, new=new)) for old, new in FACTS.items()),
            *(("", MOVE.format(value="month::varchar", old=old, new=new)) for old, new in LIMITS.items()),
            *(unrecord(name) for name in LIMITS),
            ("", "delete from build_log where month = date '1970-01-01'"),
        ],
        # Names of files are relative to the source, and ids are compared with other months. All months are staged
        # again, and none is scored again, because its actions are the same.
        8: [
            ("source_file_months", f"update {{table}} set file = {relative('file')}"),
            # A copy: an update of all rows would have to fit into memory.
            ("stg_action_rows", COPY.format(name=relative("source_file"))),
            ("stg_action_rows", "drop table {table}"),
            ("copied", "alter table {table} rename to stg_action_rows"),
            add_column("action_months", "n_conflicting", "bigint"),
            add_column("action_synonyms", "log", "string"),
            add_column("rejection_reasons", "remedy", "string"),
            *((table, "drop table {table}") for table in ("stg_child_rows", "stg_item_rows")),
        ],
        # Former attributes of items, a log of stages, which begins with the next run, and failed runs.
        9: [
            add_column("stg_item_rows", "valid_to_month", "date"),
            create("stage_events", EVENTS),
            *(add_column("model_runs", name, "string") for name in ("status", "error_code", "error")),
            ("model_runs", "update {table} set status = 'succeeded'"),
            *((table, "drop {kind} {table}") for table in ("attributed_features", "midpoint_posteriors")),
        ],
        # Prices. Months that are not staged again have none.
        10: [add_column(table, "price", "double") for table in ("stg_action_rows", "stg_item_rows")],
        # The run that read a file, in place of whether it is of the newest delivery.
        11: [
            add_column("source_row_counts", "read_at", "timestamp"),
            ("source_row_counts", "update {table} set read_at = date '1970-01-01' + is_new::integer"),
            ("source_row_counts", "alter table {table} drop column is_new"),
        ],
    }


def first_month(warehouse: Warehouse) -> str:
    """The first month that retention has not dropped, from the log of versions 1 to 6."""
    log = "build_log" if warehouse.has("build_log") else "built_months"
    limits = f"select coalesce(max(month), date '0001-01-01')::varchar from {log} where list_contains(?, model)"
    return warehouse.values(limits, list(LIMITS))[0]


def relative(column: str) -> str:
    """SQL of a file's name without the source, as LIFE_STAGE_SOURCE or DuckDB spelled it."""
    names = column
    for spelling in sorted({os.environ.get("LIFE_STAGE_SOURCE") or SOURCE, *source_identity().values()}, key=len):
        prefix = sql_literal(f"{spelling.rstrip('/')}/").replace("{", "{{").replace("}", "}}")
        names = f"if(starts_with({column}, {prefix}), substr({column}, length({prefix}) + 1), {names})"
    return names


def refuse_absolute_names(warehouse: Warehouse) -> None:
    """Raise ValueError LS-SRC-005 if a name of a file is not relative to the source."""
    if not warehouse.has("source_file_months"):
        return
    sql = "select min(file) from source_file_months where not regexp_matches(file, '^actions([/.]|$)')"
    (file,) = warehouse.values(sql)
    if file is not None:
        raise ValueError(
            f"LS-SRC-005 this warehouse was built from another source, which held {file}: set LIFE_STAGE_SOURCE as in"
            " the last run; nothing was changed"
        )


def add_column(table: str, name: str, type_: str) -> Step:
    """A step that adds a column if it is missing."""
    return table, f"alter table {{table}} add column if not exists {name} {type_}"


def create(table: str, columns: dict[str, str]) -> Step:
    """A step that creates a table if it is missing."""
    described = ", ".join(f"{name} {type_}" for name, type_ in columns.items())
    return "", f"create table if not exists {table} ({described})"


def unrecord(table: str, first_month: str = "0001-01-01") -> Step:
    """A step that causes the next run to build the months of a table again."""
    return "", f"delete from build_log where model = '{table}' and month >= date '{first_month}'"


def renamed_values() -> list[str]:
    """The values of a table of coefficients under their new names."""
    return [value.format(of_settings="parameter_type in ('setting', 'diagnostic')") for value in RENAMED_VALUES]
