"""A warehouse written by an older or newer version of the project stops the run, or is brought to this version."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
from project import assert_same, assert_stops
from reliability import observe

RECORD = Path(__file__).parent / "state_columns.json"
BELIEFS = ["stage_evidence", "birth_month_filter", "dynamic_fusion"]
# What the version before this one left behind.
FIRST_VERSION = [
    "alter table source_file_months drop column n_rejected",
    "update source_file_months set version = concat_ws(' ', split_part(version, ' ', 1), split_part(version, ' ', 2))",
    "delete from built_months where model = 'state'",
]


@pytest.mark.fault(
    "State",
    "tables of an older version of the project, after an upgrade",
    "stops with LS-STA-003, nothing changed; dbt run-operation migrate_state mends it",
)
@pytest.mark.slow
def test_tables_of_an_older_version_stop_the_run_until_they_are_migrated(base, shop):
    shop.change(*FIRST_VERSION)
    assert_stops(shop, "LS-STA-003", "of version 1", "migrate_state", "nothing was changed")
    migrated = shop.dbt("run-operation", "migrate_state")
    assert migrated.exit_code == 0, migrated.output[-3000:]
    shop.build(only="+birth_month_filter +dynamic_fusion")
    assert_same(shop, base, [*BELIEFS, "month_ledger"], ignore=())
    observe("after the migration no belief is computed again")


@pytest.mark.fault("State", "tables of a newer version of the project", "stops with LS-STA-003, nothing changed")
@pytest.mark.slow
def test_tables_of_a_newer_version_stop_the_run(shop):
    shop.change("update built_months set fingerprint = '99' where model = 'state'")
    assert_stops(shop, "LS-STA-003", "of version 99", "use the newer project", "nothing was changed")


def test_stored_columns_change_only_with_the_version_of_the_state(base):
    """Changed some? Say in macros/migrations.sql how the version before becomes the new one; renew the record."""
    ((version,),) = base.query("select fingerprint from built_months where model = 'state'")
    names = sorted(name for (name,) in base.query("select distinct model from built_months") if name in base.tables())
    names += ["built_months", "model_runs", "source_file_months", "stage_coefficients", "month_models", "search_words"]
    columns = {}
    for name in sorted(set(names)):
        of = f"from duckdb_columns() where table_name = '{name}'"
        described = base.query(f"select column_name, data_type {of} order by 1")
        columns[name] = hashlib.md5(str(described).encode()).hexdigest()[:8]
    assert {"version": int(version), "columns": columns} == json.loads(RECORD.read_text())


@pytest.mark.fault(
    "State", "a stored model that is broken (NaN)", "stops with LS-STA-004 before the beliefs are stored"
)
def test_beliefs_that_are_no_distribution_are_not_stored(shop):
    shop.change(
        "update stage_coefficients set value = 'nan' where regression = 'evidence' and kind = 'intercept'",
        "update built_months set fingerprint = '' where model = 'stage_evidence' and month = date '2017-02-01'",
        "update built_months set fingerprint = '' where model = 'birth_month_filter' and month = date '2017-02-01'",
    )
    stored = [("birth_month_filter", "true"), ("birth_month_filter_cells", "month = date '2017-02-01'")]
    before = [shop.frame(*rows) for rows in stored]
    finished = shop.start(only="evidence_weights stage_evidence birth_month_filter")
    assert finished.exit_code != 0 and "LS-STA-004" in finished.output, finished.output[-3000:]
    for (table, _), left, right in zip(stored, before, [shop.frame(*rows) for rows in stored], strict=True):
        pd.testing.assert_frame_equal(left, right, obj=table)
    observe("beliefs and carried state as before")
