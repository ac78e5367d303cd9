"""Upgrade of a warehouse from state version 2: migrated, carried on, equal to a fresh build with the same models."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from project import (
    PATHS,
    POSTERIORS,
    PROJECT,
    PROJECT_FILES,
    SMALL,
    Shop,
    assert_same,
    assert_stops,
    copy_shop,
    make_shop,
)
from reliability import observe

from life_stage.engine.settings import RENAMED

BEFORE = "ec97d488f728"  # the last commit with state version 2
NEW_MONTH = "2017-02"
TABLES = [
    *POSTERIORS,
    "month_calendar",
    "month_model_assignments",
    "user_month_features",
    "user_stages",
    "user_stage_months",
]
# The differences of version 1 from version 2, under the names of version 2.
TO_VERSION_1 = [
    "alter table source_file_months drop column n_rejected",
    "update source_file_months set version = concat_ws(' ', split_part(version, ' ', 1), split_part(version, ' ', 2))",
    "delete from built_months where model = 'state'",
]


def project_of(commit: str, folder: Path) -> None:
    """The project's files at a commit of its history."""
    found = subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=PROJECT, capture_output=True)
    if found.returncode != 0:
        pytest.skip(f"commit {commit} is not in this checkout's history")
    archive = folder.with_suffix(".tar")
    names = subprocess.run(["git", "ls-tree", "--name-only", commit], cwd=PROJECT, capture_output=True, text=True)
    files = [name for name in PROJECT_FILES if name in names.stdout.splitlines()]
    command = ["git", "archive", "--output", str(archive), commit, "--", *files, "python/life_stage"]
    subprocess.run([*command, "python/dbt_life_stage.py"], cwd=PROJECT, check=True)
    folder.mkdir()
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)


@pytest.fixture(scope="module")
def version_2(base, tmp_path_factory):
    """A shop built by the project of version 2, without the newest month; its files are this version's again."""
    shop = Shop(tmp_path_factory.mktemp("upgrade") / "shop")
    project_of(BEFORE, shop.folder)
    newest = shutil.ignore_patterns(f"month={NEW_MONTH}")
    shutil.copytree(base.source, shop.source, ignore=newest)
    words = [
        "build",
        "--vars",
        str({old: SMALL[new] for old, new in RENAMED.items() if new in SMALL} | {"checkout_months": 0}),
        "--exclude-resource-type",
        "test",
        "--project-dir",
        ".",
        "--exclude",
    ]
    words += ["path:models/life_stage/evaluation", "path:models/monitoring", "path:models/checkout"]
    environment = os.environ | PATHS | {"PYTHONPATH": str(shop.folder / "python")}
    run = subprocess.run(
        [sys.executable, "-c", "from dbt.cli.main import cli; cli()", *words],
        cwd=shop.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout[-5000:]
    for name in [*PROJECT_FILES, "python", "target", "logs"]:
        path = shop.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    fresh = make_shop(shop.folder.with_name("fresh"), like=base)
    for name in [*PROJECT_FILES, "python", "target"]:
        shutil.move(fresh.folder / name, shop.folder / name)
    fresh.folder.rmdir()
    return shop


def posteriors_of(shop: Shop) -> pd.DataFrame:
    """Probabilities of birth_month_filter by user and month."""
    frame = shop.frame("birth_month_filter").set_index(["user_id", "month"]).sort_index()
    return frame[[name for name in frame if name.startswith("p_") or name.endswith("_probability")]]


@pytest.mark.fault(
    "State",
    "tables of an older project version",
    "LS-STA-003, no change; `life-stage migrate` upgrades them",
)
@pytest.mark.slow
def test_a_warehouse_of_version_2_is_migrated_and_carried_on_as_if_built_by_this_version(base, version_2, tmp_path):
    shop = copy_shop(version_2, tmp_path / "shop")
    assert_stops(shop, "LS-STA-003", "of version 2", "life-stage migrate", "nothing was changed")
    assert shop.operate("migrate").exit_code == 0
    named = "case when parameter_type in ('setting', 'diagnostic') then feature end"
    parameters = f"select distinct model_name, parameter_type, {named} from stage_coefficients"
    parameters += " where model_name <> 'readout' and coalesce(feature, '') not in ('n_readout_users', 'label_noise')"
    assert set(shop.query(parameters)) <= set(base.query(parameters)), "a subset: newer models have more diagnostics"
    before = posteriors_of(version_2)
    shop.add_months(base, [NEW_MONTH])
    shop.build()
    after = posteriors_of(shop)
    pd.testing.assert_frame_equal(after.loc[before.index], before, check_exact=False, rtol=0, atol=5e-6)
    assert len(before) > 1000 and len(after) > len(before)
    observe("probabilities of all older months unchanged")

    fresh = make_shop(tmp_path / "fresh", like=base)
    shutil.copytree(shop.source, fresh.source)
    fresh.change(
        f"attach '{shop.warehouse}' as migrated (read_only)",
        "create table stage_coefficients as from migrated.stage_coefficients",
    )
    fresh.build()
    assert_same(shop, fresh, TABLES)
    relations = "select table_name from information_schema.tables where table_schema = 'main' order by 1"
    left = {name for (name,) in shop.query(relations)} - {name for (name,) in fresh.query(relations)}
    assert left == set()


@pytest.mark.slow
def test_a_warehouse_of_version_1_becomes_the_same_tables_as_one_of_version_2(version_2, tmp_path):
    described = (
        "select table_name, column_name, data_type from duckdb_columns() where schema_name = 'main' order by all"
    )
    shops = [copy_shop(version_2, tmp_path / name) for name in ("first", "second")]
    shops[0].change(*TO_VERSION_1)
    for shop in shops:
        assert shop.operate("migrate").exit_code == 0
    assert shops[0].query(described) == shops[1].query(described)
    assert_same(*shops, ["stage_coefficients", "stage_log_likelihoods", "month_model_assignments"], ignore=())


@pytest.mark.slow
@pytest.mark.parametrize("operation", [["erase", "u1"], ["rebuild-posteriors"]])
def test_operations_stop_before_the_migration(version_2, tmp_path, operation):
    shop = copy_shop(version_2, tmp_path / "shop")
    before = shop.contents()
    run = shop.operate(*operation)
    assert run.exit_code != 0 and "LS-STA-003" in run.output
    assert shop.contents() == before


@pytest.mark.slow
def test_a_migration_that_fails_changes_nothing(version_2, tmp_path):
    shop = copy_shop(version_2, tmp_path / "shop")
    shop.change("create table build_log (model varchar)")  # blocks the last renames
    before = shop.contents()
    assert shop.operate("migrate").exit_code != 0
    assert shop.contents() == before


VERSION_7 = "update project_state set value = '7' where key = 'state_version'"
OLDER = (  # columns and tables that version 7 had not
    "alter table stg_action_rows drop column price",
    "alter table stg_action_rows drop column is_conflicting",
    "alter table action_months drop column n_conflicting",
    "alter table action_synonyms drop column log",
    "alter table rejection_reasons drop column remedy",
    "drop table source_row_counts",
    "alter table stg_child_rows drop column left_on",
    "alter table stg_item_rows drop column left_on",
)


@pytest.mark.parametrize("source", [pytest.param("source", marks=pytest.mark.slow), "{}/source"])
def test_names_of_files_become_relative_and_no_month_is_scored_again(shop, source):
    """State version 8."""
    place = source.format(shop.folder)
    shop.change(
        VERSION_7,
        "delete from project_state where key like 'source%'",
        f"update source_file_months set file = '{place}/' || file",
        f"update stg_action_rows set source_file = '{place}/' || source_file",
        *OLDER,
    )
    before = shop.run_of_months("user_month_features")
    refused = shop.operate("migrate", environment={"LIFE_STAGE_SOURCE": "elsewhere"})
    assert (
        refused.exit_code != 0
        and f"LS-SRC-005 this warehouse was built from another source, which held {place}" in (refused.output)
    )
    assert shop.operate("migrate", environment={"LIFE_STAGE_SOURCE": place}).exit_code == 0
    shop.build(only="+user_month_features")
    assert shop.run_of_months("user_month_features") == before
    names = "select distinct source_file from stg_action_rows where source_file not like 'actions/%'"
    assert (
        shop.query(names) == []
        and shop.query(names.replace("source_file", "file").replace("stg_action_rows", "source_file_months")) == []
    )
    assert len(shop.query("from project_state where key like 'source%'")) == 2


def test_the_newest_delivery_stays_the_newest(shop):
    """State version 11: its checks are those of the run before."""
    before = shop.query("from delivery_checks order by all")
    shop.change(
        "update project_state set value = '10' where key = 'state_version'",
        "alter table source_row_counts add column is_new boolean",
        "update source_row_counts set is_new = read_at = (select max(read_at) from source_row_counts)",
        "alter table source_row_counts drop column read_at",
        "drop table delivery_checks",
    )
    assert shop.operate("migrate").exit_code == 0
    shop.build(only="delivery_checks")
    assert shop.query("from delivery_checks order by all") == before != []
