"""Preflight checks: an invalid run fails before anything is written, with a code and the problem."""

import json
import re
import shutil
import subprocess
import sys

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from project import PATHS, PROJECT, SMALL, assert_stops

from life_stage.commands.stage_columns import MARTS, write_stage_columns

ROW = "select 1 as action_id, 2 as user_id, timestamp '2017-02-03' as occurred_at, 'pv' as action, 3 as item_id"
HOLD = """
import sys
from pathlib import Path
from life_stage.engine.warehouse_lock import take_lock
take_lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
STAGES = [
    {"name": "pregnancy", "from_month": -9, "to_month": 0},
    {"name": "baby", "from_month": 0, "to_month": 12},
    {"name": "child", "from_month": 12, "to_month": 84},
]


def rewrite(shop, table, select, name=None):
    """Replace the file of a source table by the rows of a query on it."""
    file = (shop.source / f"{table}.parquet").rename(shop.folder / f"{table}.parquet")
    shop.write(name or f"{table}.parquet", select.format(file=file))


@pytest.mark.fault(
    "Settings",
    "unknown vars, invalid values, SQL in vars",
    "LS-VAR-001 or LS-VAR-002 names all, no change",
)
def test_invalid_settings_stop_the_run_and_are_all_named(shop):
    wrong = {
        "source_schema": "main; drop table birth_month_filter",
        "business_timezone": "UTC'); drop table birth_month_filter; --",
        "run_clock": "2017-03-01 00:00:00'; drop table birth_month_filter; --",
        "through_month": "2017-13",
        "training_min_users": "1 or 1=1",
        "training_share": 1.5,
        "training_min_feature_support": True,
        "retention_features_months": 12,
        "training_fine_tuning": "yes",
        "training_tune_penalties": 1,
        "experiments": "a",
    }
    facts = [
        "LS-VAR-001 unknown var min_trainig_users: known are",
        "LS-VAR-001 unknown var min_training_users: it is called training_min_users",
        *(f"LS-VAR-002 var {name} is '{wrong[name]}'" for name in wrong),
    ]
    assert_stops(shop, "LS-VAR-001", *facts, min_trainig_users=100, min_training_users=100, **wrong)


@pytest.mark.parametrize(
    ("code", "variables"),
    [
        ("LS-VAR-003", {"stages": STAGES}),  # the contracts of the marts have other columns
        ("LS-STA-002", {"training_share": 0.4}),  # training users would become test users
        ("LS-STA-002", {"business_timezone": "Asia/Shanghai"}),
    ],
)
def test_an_invalid_setting_stops_the_run(shop, code, variables):
    """Other values: test_settings.py."""
    assert_stops(shop, code, {"LS-VAR-003": "stages", "LS-STA-002": "LIFE_STAGE_WAREHOUSE"}[code], **variables)


@pytest.mark.fault("Settings", "first run with an invalid setting", "fails with its code, no table written")
@pytest.mark.parametrize(
    ("message", "variables"),
    [
        ("LS-VAR-002 var business_timezone is 'Mars/Olympus'", {"business_timezone": "Mars/Olympus"}),
        ("LS-SRC-001 table nowhere.actions does not exist", {"source_schema": "nowhere"}),
    ],
)
def test_an_invalid_first_run_writes_no_table(base, bare_shop, message, variables):
    bare_shop.add_months(base, ["2016-07"])
    finished = bare_shop.start(**variables)
    assert finished.exit_code != 0
    assert message in " ".join(finished.output.split()), finished.output[-3000:]
    assert bare_shop.tables() == []


@pytest.mark.fault("Files and columns", "missing file", "LS-SRC-001, no change")
def test_a_missing_table_stops_the_run(shop):
    (shop.source / "items.parquet").rename(shop.folder / "items.parquet")
    assert_stops(shop, "LS-SRC-001", f"items is missing in {shop.source.resolve()}", "LIFE_STAGE_SOURCE")


@pytest.mark.fault(
    "Files and columns",
    "missing or renamed columns",
    "LS-SRC-002 names file and columns, no change",
)
def test_a_missing_column_stops_the_run_naming_file_and_columns(shop):
    shop.write(
        "actions/month=2017-02/more.csv",
        ROW.replace("user_id", "uid"),
    )
    file = " in actions/month=2017-02/more.csv"
    assert_stops(
        shop,
        "LS-SRC-002 actions.user_id",
        file,
        "its columns are action_id, uid, occurred_at, action, item_id; perhaps uid is meant as user_id:",
        "nothing was changed",
    )


@pytest.mark.fault("Files and columns", "a month in forty small files", "read as one file, columns checked once")
def test_many_small_files_are_read_together(shop):
    """No statement reads one of them by itself but the first, which stands for all of the same columns."""
    (whole,) = (shop.source / "actions" / "month=2017-02").iterdir()
    before = shop.frame("stg_action_rows").drop(columns="source_file")
    rows = pq.read_table(whole)
    step = -(-len(rows) // 40)
    whole.unlink()
    for n in range(40):
        pq.write_table(rows.slice(n * step, step), whole.with_name(f"part-{n:04}.parquet"))
    shop.build(only="source_row_counts source_file_months stg_action_rows", environment={"DBT_LOG_LEVEL_FILE": "debug"})
    pd.testing.assert_frame_equal(shop.frame("stg_action_rows").drop(columns="source_file"), before)
    log = (shop.folder / "logs" / "dbt.log").read_text()
    assert "part-0000.parquet'], " in log and "part-0001.parquet', " in log
    assert not re.findall(r"read_parquet\(\['[^']*part-00(?!00)\d\d.parquet'\]", log)


def test_a_file_without_a_header_stops_the_run_and_its_first_row_is_not_shown(shop):
    (shop.source / "actions" / "month=2017-02" / "more.csv").write_text("a1,shopper-42,2017-02-03,pv,3\n" * 3)
    finished = shop.start()
    assert finished.exit_code != 0 and "perhaps it has no header row" in finished.output
    assert "shopper-42" not in finished.output


@pytest.mark.fault(
    "Files and columns",
    "missing or renamed columns",
    "LS-SRC-002 names file and columns, no change",
)
@pytest.mark.slow
def test_a_column_missing_in_the_catalogue_stops_the_run(shop):
    rewrite(shop, "items", "select * exclude (leaf_category) from '{file}'")
    assert_stops(shop, "LS-SRC-002 items.leaf_category", " in items.parquet", "item_id, title")


@pytest.mark.fault("Files and columns", "time column of another type", "LS-SRC-003, no change")
@pytest.mark.slow
def test_a_time_column_of_another_type_stops_the_run(shop):
    rewrite(
        shop,
        "children",
        "select * replace (birth_date > date '2016-01-01' as birth_date) from '{file}'",
    )
    assert_stops(shop, "LS-SRC-003 children.birth_date", " in children.parquet", "BOOLEAN")


@pytest.mark.fault("Files and columns", "file neither Parquet nor CSV", "LS-SRC-004, no change")
@pytest.mark.slow
def test_a_file_of_unknown_kind_stops_the_run(shop):
    (shop.source / "actions" / "month=2017-02" / "actions.xlsx").write_bytes(b"PK")
    assert_stops(shop, "LS-SRC-004 actions/month=2017-02/actions.xlsx", "neither Parquet nor CSV")


@pytest.mark.fault(
    "Files and columns", "wildcards, quotes, blanks, accents, placeholders in names", "the file is read, and no other"
)
@pytest.mark.fault(
    "Settings", "source moved or copied, or reached by a link", "the run goes on, no month is read again"
)
def test_a_source_that_was_moved_goes_on_and_its_links_and_odd_names_are_followed(shop):
    before, staged = shop.run_of_months("stg_action_rows"), shop.query("select count(*) from stg_action_rows")
    moved = shop.folder / "shop [it's] {2017} __month__"
    shop.source.rename(moved)
    (shop.folder / "elsewhere [1]").mkdir()
    (moved / "actions" / "far").symlink_to("../../elsewhere [1]")
    name = "a* __month__ {b}.csv"
    duckdb.sql(f"copy ({ROW}) to '{shop.folder}/elsewhere [1]/{name}'")
    shop.build(only="+stg_action_rows", environment={"LIFE_STAGE_SOURCE": str(moved)})
    after = shop.run_of_months("stg_action_rows")
    assert {month for month in after if before.get(month) != after[month]} == {"2017-02"}
    sql = "select count(*) from stg_action_rows where source_file = 'actions/far/a* __month__ {b}.csv'"
    assert shop.query(sql) == [(1,)] and shop.query("select count(*) - 1 from stg_action_rows") == staged
    recorded = "select value from project_state where key = 'source_real_path'"
    assert shop.query(recorded) == [(str(moved.resolve()),)]


@pytest.mark.fault("Settings", "dbt build --empty or --sample", "LS-VAR-006, no change")
@pytest.mark.parametrize("flag", ["--empty", pytest.param("--sample=3 months", marks=pytest.mark.slow)])
def test_a_run_that_would_read_a_part_of_the_tables_stops(shop, flag):
    before = shop.contents()
    finished = shop.dbt("build", flag, "--select", "path:models/staging", "--vars", json.dumps(SMALL))
    assert finished.exit_code != 0 and "LS-VAR-006" in finished.output, finished.output[-2000:]
    assert shop.contents() == before


@pytest.mark.fault("Settings", "source of another shop", "LS-SRC-005, no change")
@pytest.mark.slow
def test_the_schema_of_another_shop_stops_the_run(shop):
    shop.change(
        "create schema shop_a",
        *(f"create table shop_a.{table} as select 1 as x" for table in ("actions", "items", "children")),
        "delete from source_file_months",
        "insert into project_state values ('source_schema', 'shop_b')",
    )
    assert_stops(shop, "LS-SRC-005", "the schema shop_b", source_schema="shop_a")


@pytest.mark.fault("Settings", "source of another shop", "LS-SRC-005, no change")
@pytest.mark.slow
def test_the_source_of_another_shop_stops_the_run(shop):
    tables = {"actions": "actions/month=2017-02/*.parquet", "items": "items.parquet", "children": "children.parquet"}
    shop.change(
        "create schema shop",
        *(f"create table shop.{table} as from '{shop.source}/{files}'" for table, files in tables.items()),
    )
    assert_stops(shop, "LS-SRC-005", "which held actions/", "LIFE_STAGE_WAREHOUSE", source_schema="shop")


@pytest.mark.fault("Settings", "source of another shop", "LS-SRC-005, no change")
@pytest.mark.slow
def test_the_folder_of_another_shop_stops_the_run(shop):
    """With files of the same names."""
    other = shop.folder / "other"
    shutil.copytree(shop.source, other)
    for file in (other / "actions").rglob("*.parquet"):
        rows = f"from '{file}' where action_id % 2 = 0"
        duckdb.sql(f"copy ({rows}) to '{file}.new' (format parquet)")
        file.with_name(f"{file.name}.new").replace(file)
    where = {"LIFE_STAGE_SOURCE": str(other)}
    assert_stops(
        shop, "LS-SRC-005", f"0 of its 8 files are in {other.resolve()}", "LIFE_STAGE_WAREHOUSE", environment=where
    )
    finished = shop.dbt("run-operation", "check_same_source", environment={"LIFE_STAGE_SOURCE": "other/../source/"})
    assert finished.exit_code == 0, finished.output


@pytest.mark.fault("State", "missing state table", "LS-STA-001, no change")
@pytest.mark.parametrize(
    "table",
    [
        pytest.param("birth_month_filter", marks=pytest.mark.slow),
        pytest.param("birth_month_filter_cells", marks=pytest.mark.slow),
        pytest.param("dynamic_fusion_cells", marks=pytest.mark.slow),
        pytest.param("stage_scores", marks=pytest.mark.slow),
        "build_log",
        pytest.param("project_state", marks=pytest.mark.slow),
        pytest.param("search_terms", marks=pytest.mark.slow),
    ],
)
def test_a_lost_state_table_stops_the_run(shop, table):
    shop.change(f"drop table {table} cascade")
    assert_stops(shop, "LS-STA-001", table, "backup")


@pytest.mark.fault("Machine", "two concurrent runs", "second fails with LS-RUN-001, no change")
@pytest.mark.slow
def test_a_second_run_stops_and_names_the_process_that_holds_the_warehouse(shop):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(shop.warehouse.resolve())], env={"PYTHONPATH": PATHS["PYTHONPATH"]},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "held\n"
        assert_stops(shop, "LS-RUN-001", "warehouse.duckdb is in use by", f"process {holder.pid} on ")
    finally:
        holder.communicate()


@pytest.mark.fault("Machine", "foreign folder at the publication path", "LS-PUB-001, no change")
@pytest.mark.slow
def test_a_foreign_folder_at_the_published_path_stops_the_run(shop):
    shop.published.unlink()
    shop.published.mkdir()
    (shop.published / "report.txt").write_text("mine")
    shop.write(
        "actions/month=2017-02/more.csv",
        ROW,
    )
    assert_stops(shop, "LS-PUB-001", "LIFE_STAGE_PUBLISHED")
    assert [file.name for file in shop.published.iterdir()] == ["report.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["a shorter list", "infer_pregnancy"])
def test_without_pregnancy_nothing_before_birth_is_inferred_or_published(bare_shop, base, by):
    """No stage, column or age before birth, and no future birth month."""
    project_file = bare_shop.folder / "dbt_project.yml"
    stages = yaml.safe_load(project_file.read_text())["vars"]["stages"][1:]
    changed = project_file.read_text().replace("infer_pregnancy: true", "infer_pregnancy: false")
    if by == "a shorter list":
        changed = project_file.read_text().replace("    - { name: pregnancy, from_month: -9, to_month: 0 }\n", "")
    project_file.write_text(changed)
    write_stage_columns(bare_shop.folder)
    bare_shop.add_months(base, [path.name.removeprefix("month=") for path in (base.source / "actions").iterdir()])
    bare_shop.build(checked=True)
    found = bare_shop.query("select distinct stage, birth_confirmed from user_stages")
    assert {stage for stage, _ in found} <= {stage["name"] for stage in stages} and len(found) > 3
    assert {confirmed for _, confirmed in found} == {True}
    columns = bare_shop.query("select table_name, column_name from duckdb_columns() where not internal")
    assert [column for column in columns if "pregnancy" in column[1] or re.search("_m[0-9]", column[1])] == []
    unborn = "select max(greatest(expected_birth_month, latest_birth_month)) <= max(month) from user_stage_months"
    assert bare_shop.query(unborn) == [(True,)]
    for table, column in [(table, column) for table, column in columns if column.endswith("stage")]:
        assert bare_shop.query(f'select count(*) from "{table}" where "{column}"::varchar = \'pregnancy\'') == [(0,)]


def test_stage_columns_are_written_for_the_list_there_is(tmp_path):
    """Unchanged for the project's list; without pregnancy its columns are removed, and restored afterwards."""
    marts = tmp_path / MARTS
    marts.parent.mkdir(parents=True)
    shutil.copy(PROJECT / MARTS, marts)
    text = (PROJECT / "dbt_project.yml").read_text()
    (tmp_path / "dbt_project.yml").write_text(text)
    write_stage_columns(tmp_path)
    assert marts.read_text() == (PROJECT / MARTS).read_text()
    (tmp_path / "dbt_project.yml").write_text(text.replace("infer_pregnancy: true", "infer_pregnancy: false"))
    assert write_stage_columns(tmp_path) == ["newborn", "infant", "toddler", "nursery", "kindergarten"]
    assert "p_pregnancy" not in marts.read_text() and marts.read_text().count("p_newborn") == 1
    (tmp_path / "dbt_project.yml").write_text(text)
    write_stage_columns(tmp_path)
    assert marts.read_text() == (PROJECT / MARTS).read_text()
