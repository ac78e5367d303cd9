"""Warehouses of an older or newer version of the project: the run fails, or they are migrated."""

import hashlib
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from project import DERIVED, assert_stops
from reliability import observe

RECORD = Path(__file__).parent / "state_columns.json"
POSTERIORS = ["stage_log_likelihoods", "birth_month_filter", "dynamic_fusion"]


@pytest.mark.fault("State", "tables of a newer project version", "LS-STA-003, no change")
@pytest.mark.slow
def test_tables_of_a_newer_version_stop_the_run(shop):
    shop.change("update project_state set value = '99' where key = 'state_version'")
    assert_stops(shop, "LS-STA-003", "of version 99", "use the newer project", "nothing was changed")


def test_stored_columns_change_only_with_the_version_of_the_state(base):
    """After a change add a migration to python/life_stage/operations/migrations.py and update state_columns.json."""
    ((version,),) = base.query("select value from project_state where key = 'state_version'")
    recorded = {name for (name,) in base.query("select distinct model from build_log")} & set(base.tables())
    names = [name for name in recorded if not re.fullmatch(DERIVED, name)]  # others are built anew after a change
    names += [
        "build_log",
        "project_state",
        "model_runs",
        "source_file_months",
        "stage_coefficients",
        "household_weights",
        "month_model_assignments",
        "search_words",
        "stage_events",
    ]
    columns = {}
    for name in sorted(set(names)):
        of = f"from duckdb_columns() where table_name = '{name}'"
        described = base.query(f"select column_name, data_type {of} order by 1")
        columns[name] = hashlib.md5(str(described).encode()).hexdigest()[:8]
    assert {"version": int(version), "columns": columns} == json.loads(RECORD.read_text())


@pytest.mark.fault("State", "stored model with NaN", "LS-STA-004, posteriors not stored")
def test_posteriors_that_are_no_distribution_are_not_stored(shop):
    shop.change(
        "update stage_coefficients set value = 'nan'"
        " where model_name = 'log_likelihood' and parameter_type = 'intercept'",
        "update build_log set input_hash = '' where model = 'stage_log_likelihoods' and month = date '2017-02-01'",
        "update build_log set input_hash = '' where model = 'birth_month_filter' and month = date '2017-02-01'",
    )
    stored = [("birth_month_filter", "true"), ("birth_month_filter_cells", "month = date '2017-02-01'")]
    before = [shop.frame(*rows) for rows in stored]
    finished = shop.start(only="model_weights stage_log_likelihoods birth_month_filter")
    assert finished.exit_code != 0 and "LS-STA-004" in finished.output, finished.output[-3000:]
    for (table, _), left, right in zip(stored, before, [shop.frame(*rows) for rows in stored], strict=True):
        pd.testing.assert_frame_equal(left, right, obj=table)
    observe("posteriors and state unchanged")
