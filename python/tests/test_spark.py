"""The project on DuckDB and on Apache Spark: equal tables, the same months built.

Run by `make test-spark`; the extra `spark` and Java are needed. One shop is built on both engines and then given a new
and a changed month, so the tests of this file belong together and run in their order.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import generate_source
from project import DERIVED, PATHS, PROJECT, SMALL, Shop, make_shop

pytest.importorskip("pyspark")
pytestmark = pytest.mark.spark

VARS = SMALL | {
    "evaluation_from": "2017-01",
    "marts_min_cell_users": 2,
    "checkout_months": 0,
    "experiments": [{"name": "one", "first_month": "2016-11", "treated_share": 0.5}],
}
# Engine-specific values: the run, its clock, hashes, versions of files.
OWN = {
    "action_months": {"content_hash"},
    "birth_month_filter": {"run_id"},
    "build_log": {"input_hash", "run_id", "built_at"},
    "dynamic_fusion": {"run_id"},
    "explained_children": {"features"},  # lists without an order
    "item_feature_index": {"feature_id"},
    "model_runs": {"run_id", "started_at", "seconds"},
    "month_calendar": {"content_hash"},
    "observed_features": {"feature_id"},
    "published_marts": {"bytes", "path", "run_id", "sha256"},
    "source_file_months": {"version"},
    "source_row_counts": {"read_at", "version"},
    "stage_events": {"event_no", "run_id", "logged_at"},
    "stage_posteriors": {"run_id"},
    "term_feature_index": {"feature_id"},
    "user_stage_months": {"run_id"},
    "user_stages": {"run_id"},
}
SPARK = {"LIFE_STAGE_TARGET": "spark", "LIFE_STAGE_WAREHOUSE": "spark", "LIFE_STAGE_PUBLISHED": "published_by_spark"}
WITHOUT_ROWS = {  # all other tables have rows
    "erased_users",  # no erased users
    "erased_action_hashes",
    "stg_consents",  # no consents
    "stg_consents_by_purpose",
    "user_consents",
    "registration_sightings",  # no registration without a time
    "implausible_users",
    "monitor_latency",  # of the checkout
    "answer_outcomes",
    "retraining_triggers",  # no rejected model
    "age_word_labels",  # var training_labels is registrations
}
WITHOUT_ROWS_YET = WITHOUT_ROWS | {"model_drift", "outlook_backtest"}  # no new month since the training
KINDS = {  # of columns: integers differ in width between engines
    **dict.fromkeys(("TINYINT", "INTEGER", "BIGINT", "HUGEINT"), "number"),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_NS"), "time"),
    **{"DOUBLE": "double", "FLOAT": "double", "BLOB": "blob", "VARCHAR": "text", "DATE": "date", "BOOLEAN": "boolean"},
}
JAVA = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -Dderby.system.durability=test"}


@dataclass(frozen=True)
class SparkShop:
    """A shop's folder with the target `spark`."""

    shop: Shop
    variables: dict = field(default_factory=lambda: VARS)

    @property
    def warehouse(self) -> Path:
        """The folder of its tables and catalogue."""
        return self.shop.folder / "spark"

    def build(self, *words: str, **environment: str) -> str:
        """Run the monthly job, which must succeed, and return its output."""
        command = [str(Path(sys.executable).with_name("dbt")), "--no-use-colors", "build"]
        command += ["--vars", json.dumps(self.variables), "--exclude", "path:models/checkout", "test_type:unit"]
        command += ["--target-path", "target_spark", "--log-path", "logs_spark"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBT_", "LIFE_STAGE_"))}
        done = subprocess.run(
            [*command, *words],
            cwd=self.shop.folder,
            env=kept | PATHS | SPARK | JAVA | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        return done.stdout

    def tables(self, task: str, *words: str | Path) -> None:
        """Run an operation on the warehouse's tables (see spark_tables.py)."""
        script = Path(__file__).with_name("spark_tables.py")
        command = [sys.executable, str(script), task, str(self.warehouse), *map(str, words)]
        subprocess.run(command, cwd=self.shop.folder, env=os.environ | JAVA, check=True, capture_output=True)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A shop of 1,200 users and 6 months, 2016-09 to 2017-02, on DuckDB; the last month is not delivered yet.

    Children and the actions of a month are CSV; the source's name is in its path twice.
    """
    shop = make_shop(tmp_path_factory.mktemp("spark") / "source" / "shop")
    generate_source(shop, users=1_200, months=6)
    for file in [*shop.source.glob("children*"), *(shop.source / "actions" / "month=2016-10").iterdir()]:
        duckdb.read_parquet(str(file)).write_csv(str(file.with_suffix(".csv")))
        file.unlink()
    (shop.folder / "to_come").mkdir()
    (shop.source / "actions" / "month=2017-02").rename(shop.folder / "to_come" / "month=2017-02")
    shop.build(evaluated=True, **VARS)
    return shop


@pytest.fixture(scope="module")
def on_spark(shop):
    """The same shop built on Spark with the models of DuckDB, tested by its data tests."""
    spark = SparkShop(shop)
    give_models(shop, spark)
    spark.build()
    return spark


def give_models(shop: Shop, spark: SparkShop) -> None:
    """Give a new Spark warehouse the models of the shop, which were trained on DuckDB."""
    models = shop.folder / "models_of_duckdb"
    models.mkdir()
    for table in {"stage_coefficients", "evaluation_coefficients"} & set(shop.tables()):
        shop.query(f"copy {table} to '{models / table}.parquet'")
    spark.tables("take_in", models)


def relations(connection, sql: str, table: str) -> tuple[dict[str, str], pd.DataFrame]:
    """Types of the columns that both engines must share, and the rows, in a fixed order."""
    kinds = {name: KINDS.get(kind, kind) for name, kind, *_ in connection.execute(f"describe {sql}").fetchall()}
    kinds = {name: kinds[name] for name in sorted(set(kinds) - OWN.get(table, set()))}
    rows = connection.execute(f"select {', '.join(kinds)} from ({sql})").df()
    for name, kind in kinds.items():
        if kind == "blob":
            rows[name] = [np.frombuffer(bytes(value), np.float16).astype(float) for value in rows[name]]
        elif kind in ("number", "double"):
            rows[name] = rows[name].astype(float)
    first = [name for name, kind in kinds.items() if kind not in ("double", "blob")]
    last = [name for name, kind in kinds.items() if kind == "double"]
    return kinds, rows.sort_values(first + last, ignore_index=True)


def differences(left: pd.DataFrame, right: pd.DataFrame, kinds: dict[str, str]) -> list[str]:
    """Unequal rows, with doubles to 1e-9 and carried half-precision sums to their precision."""
    if len(left) != len(right):
        return [f"{len(left)} rows and {len(right)}"]
    found = []
    for name, kind in kinds.items():
        if kind == "double":
            equal = np.isclose(left[name], right[name], rtol=0, atol=1e-9, equal_nan=True)
        elif kind == "blob":
            pairs = zip(left[name], right[name], strict=True)
            equal = np.array([np.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in pairs], bool)
        else:
            equal = ((left[name] == right[name]) | (left[name].isna() & right[name].isna())).to_numpy()
        if not equal.all():
            found.append(f"{name}: {(~equal).sum()} of {len(left)}, e.g. {left[~equal].iloc[0].to_dict()}")
    return found


def assert_equal(shop: Shop, spark: SparkShop, folder: Path, without_rows: Set[str] = WITHOUT_ROWS) -> None:
    """Assert that every table and view except the checkout has the same columns, types and rows on both."""
    spark.tables("write_out", folder)
    found = shop.query("select table_name from information_schema.tables where table_schema = 'main'")
    ours = (
        {name for (name,) in found}
        - {"node_hashes"}
        - {path.stem for path in (PROJECT / "models" / "checkout").rglob("*.*")}
    )
    assert {path.name for path in folder.iterdir()} == ours
    unlike = {}
    with duckdb.connect(shop.warehouse, read_only=True) as on_duckdb, duckdb.connect() as files:
        for table in sorted(ours):
            ours_alone = " where key <> 'ledger'" if table == "project_state" else ""
            kinds, left = relations(on_duckdb, f"from {table}{ours_alone}", table)
            others, right = relations(files, f"from read_parquet('{folder / table}/*.parquet')", table)
            if kinds != others:
                unlike[table] = sorted(set(kinds.items()) ^ set(others.items()))
                continue
            found = differences(left, right, kinds)
            if found or (len(left) == 0) != (table in without_rows):
                unlike[table] = found or [f"{len(left)} rows"]
    assert unlike == {}


def months_built(output: str) -> dict[str, int]:
    """{table: number of months that a run built} of the monthly tables, without those that Spark builds anew."""
    found = re.findall(r"OK created \w+ \w*monthly model life_stage\.(\w+) \.* ?\[(\d+) months", output)
    return {table: int(n) for table, n in found if not re.fullmatch(DERIVED, table)}


def test_every_table_on_spark_is_equal_to_that_on_duckdb(shop, on_spark, tmp_path):
    assert_equal(shop, on_spark, tmp_path, WITHOUT_ROWS_YET)


def test_what_spark_publishes_is_equal_to_what_duckdb_publishes(shop, on_spark):
    """Equal files, columns, descriptions and rows, except engine-specific names."""
    sets = [shop.published, shop.folder / "published_by_spark"]
    assert {path.name for path in sets[0].iterdir()} == {path.name for path in sets[1].iterdir()}
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in sets]
    for fact in ("columns", "descriptions"):
        assert manifests[0][fact] == manifests[1][fact]
    assert (sets[0] / "dictionary.csv").read_text() == (sets[1] / "dictionary.csv").read_text()
    files, others = ({str(path.relative_to(folder)) for path in folder.rglob("*.parquet")} for folder in sets)
    assert {"user_stages.parquet", "user_stage_months/2017-01.parquet"} < files and files == others
    with duckdb.connect() as connection:
        for file in sorted(files):
            mart = Path(file).parts[0].removesuffix(".parquet")
            (kinds, left), (others, right) = (relations(connection, f"from '{folder / file}'", mart) for folder in sets)
            assert kinds == others and differences(left, right, kinds) == [], file


def test_a_run_with_nothing_new_after_a_killed_one_builds_no_month_and_publishes_nothing(shop, on_spark):
    """Killed in swap_in: the backup exists, and the new table is missing or the old one not dropped."""
    on_spark.tables("leave_backups", "month_model_assignments", "monitor_quality")
    shop.build(evaluated=True, **VARS)  # a row of model_runs
    published = os.readlink(on_spark.shop.folder / "published_by_spark")
    built = months_built(on_spark.build("--exclude-resource-type", "test", "unit_test"))
    assert len(built) == 15 and set(built.values()) == {0}
    assert os.readlink(on_spark.shop.folder / "published_by_spark") == published


def test_a_new_and_a_changed_month_are_built_as_on_duckdb_and_no_other(shop, on_spark, tmp_path):
    (shop.folder / "to_come" / "month=2017-02").rename(shop.source / "actions" / "month=2017-02")
    file = next((shop.source / "actions" / "month=2017-01").glob("*.parquet"))
    rows = duckdb.read_parquet(str(file)).filter("user_id % 7 <> 0").to_arrow_table()
    pq.write_table(rows, file)
    shop.build(evaluated=True, **VARS)
    built = months_built(on_spark.build("--exclude-resource-type", "test", "unit_test"))
    assert len(built) == 15 and set(built.values()) == {2}
    assert_equal(shop, on_spark, tmp_path)


def test_a_failed_run_has_a_row_on_both(shop, on_spark, tmp_path):
    model = shop.folder / "models/life_stage/marts/users.sql"
    model.write_text(f"{model.read_text()}\nwhere no_such_column = 1\n")
    assert shop.start(evaluated=True, **VARS).exit_code == 1
    with pytest.raises(AssertionError, match="no_such_column"):
        on_spark.build("--exclude-resource-type", "test", "unit_test")
    on_spark.tables("write_out", tmp_path)
    row = "select status, error_code, n_users from {} where status = 'failed'"
    assert shop.query(row.format("model_runs")) == [("failed", "LS-RUN-009", None)]
    assert shop.query(row.format(f"'{tmp_path}/model_runs/*.parquet'")) == [("failed", "LS-RUN-009", None)]
