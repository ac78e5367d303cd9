"""Separate project folder for every test: the project's files, a source, a warehouse and the published marts.

Every run is `dbt build`, or an operation of `life-stage`, in a separate process, forked from one that has loaded dbt.
All folders look alike from inside, so that dbt parses the project once.
"""

import fcntl
import gc
import hashlib
import json
import marshal
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType

import duckdb
import pandas as pd
from kill_runner import Watch, die_at
from reliability import observe

PROJECT = Path(__file__).parents[2]
PROJECT_FILES = ("dbt_project.yml", "profiles.yml", "selectors.yml", "models", "macros", "seeds", "tests")
SMALL = {"training_min_users": 60, "training_min_feature_support": 20, "training_every_months": 0, "checkout_months": 0}
OPTIONS = ["--vars", json.dumps(SMALL), "--exclude-resource-type", "unit_test"]  # of dbt build in the monthly job
UNLOGGED = ["--log-level-file", "none", "--no-write-json"]  # dbt's log and its record of the run take a sixth of a run
# Tables by month that are built again after a change by hand.
DERIVED = "(checkout_|registered_births|user_stage_months).*"
# Monthly tables of posteriors, and what they are computed from.
POSTERIORS = [
    "birth_month_filter",
    "presence_filter",
    "household_stages",
    "household_children",
    "dynamic_fusion",
    "stage_log_likelihoods",
    "stage_scores",
]
PATHS = {
    "LIFE_STAGE_SOURCE": "source",
    "LIFE_STAGE_WAREHOUSE": "warehouse.duckdb",
    "LIFE_STAGE_PUBLISHED": "published",
    "DBT_PROFILES_DIR": ".",
    "DO_NOT_TRACK": "1",
    "PYTHONPATH": str(PROJECT / "python"),
}
# Vars read in parsing; the parsed project is the same for all values of the others (test_manifest.py).
PARSED_VARS = {
    *(
        "checkout_deep",
        "checkout_even_stages",
        "checkout_half_life_days",
        "checkout_items",
        "checkout_months",
        "experiments",
        "features",
        "training_fine_tuning",
        "fusion_merge",
    ),
    *("fusion_method", "training_min_feature_support", "training_min_users", "training_every_months"),
    *("source_schema", "training_tune_penalties", "marts_min_cell_users"),
}
FORKS = multiprocessing.get_context("forkserver")


def start_forks(parsed: Path) -> None:
    """Start the process from which runs are forked: it parses the project in a folder, see parsed_project.py."""
    FORKS.set_forkserver_preload(["parsed_project"])
    found = dict(os.environ)
    os.environ["LIFE_STAGE_PARSED"] = str(parsed)
    os.environ["PYTHONPATH"] = os.pathsep.join((PATHS["PYTHONPATH"], str(Path(__file__).parent)))
    first = FORKS.Process(target=int)
    first.start()
    first.join()
    os.environ.clear()
    os.environ.update(found)
    assert (parsed / "target" / "partial_parse.msgpack").exists(), "dbt could not parse the project"


def compile_templates_once(file: Path) -> Callable[[], None]:
    """Compile each Jinja template of dbt once for all runs of a folder and its copies: a quarter of a run's time.

    They are kept when the process ends, or by the function that is returned.
    """
    from jinja2 import Environment

    compiled = marshal.loads(file.read_bytes()) if file.exists() else {}
    known, compile_it = len(compiled), Environment.compile

    def compile_once(environment: Environment, source: str, name=None, filename=None, *others, **named) -> CodeType:
        if not isinstance(source, str) or others or named:
            return compile_it(environment, source, name, filename, *others, **named)
        key = (type(environment).__name__, source, name, filename)
        if key not in compiled:
            compiled[key] = compile_it(environment, source, name, filename)
        return compiled[key]

    def keep() -> None:
        if len(compiled) > known and file.parent.exists():
            file.with_suffix(".new").write_bytes(marshal.dumps(compiled))
            file.with_suffix(".new").replace(file)

    Environment.compile = compile_once
    multiprocessing.util.Finalize(None, keep, exitpriority=1)
    return keep


def run(words: list[str], folder: Path, output: Path, environment: dict[str, str], file_bytes: int | None) -> None:
    """Run dbt or life-stage in a folder, in a forked process with a clean environment.

    No file of it may grow beyond file_bytes, which simulates a full disk.
    """
    from dbt.cli.main import cli
    from parsed_project import ignore_debug_events

    from life_stage.commands.command_line import main

    gc.disable()
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for name in [name for name in os.environ if name.startswith(("DBT_", "LIFE_STAGE_"))]:
        del os.environ[name]
    os.environ.update(PATHS | environment)
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))
    os.chdir(folder)
    compile_templates_once(folder / "target" / "templates")
    if "--log-level-file" in words:
        ignore_debug_events()
    if "LIFE_STAGE_KILL_MODELS" in environment:
        Watch().watch()
    if "LIFE_STAGE_KILL_FUNCTION" in environment:
        die_at(*environment["LIFE_STAGE_KILL_FUNCTION"].split())
    sys.argv = words  # dbt reads flags there too
    (cli if words[0] == "dbt" else main)(words[1:])


@dataclass(frozen=True)
class Finished:
    """A run that has ended: its exit code and all it printed."""

    exit_code: int
    output: str


@dataclass(frozen=True)
class Shop:
    """A folder with all files that one monthly job reads and writes."""

    folder: Path

    @property
    def source(self) -> Path:
        """The folder that the job reads."""
        return self.folder / "source"

    @property
    def warehouse(self) -> Path:
        """The working database."""
        return self.folder / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        """The link to the published set."""
        return self.folder / "published"

    def start(
        self,
        checked: bool = False,
        evaluated: bool = False,
        only: str = "",
        environment: dict[str, str] | None = None,
        file_bytes: int | None = None,
        **variables,
    ) -> Finished:
        """Run the monthly job, or `only` some of its models, and wait for its end, good or bad.

        Slow steps of interest to few tests are skipped: data tests unless `checked`, evaluation unless that or
        `evaluated`, the checkout unless `only` names a part of it, dbt's log and its record of the run unless given
        an environment. `environment` and `file_bytes` as in run.
        """
        words = ["--vars", json.dumps(SMALL | variables)]
        words += ["--exclude-resource-type", "unit_test", *([] if checked else ["test"])]
        words += [] if environment else UNLOGGED
        words += ["--select", *only.split()] if only else []
        excluded = [] if checked or evaluated else ["path:models/life_stage/evaluation", "path:models/monitoring"]
        excluded += [] if checked or "checkout" in only else ["path:models/checkout"]
        words += ["--exclude", *excluded] if excluded else []
        return self.dbt("build", *words, environment=environment or {}, file_bytes=file_bytes)

    def job(self, *options: str, always: bool = False, **environment: str) -> Finished:
        """Run the monthly job, `life-stage run`, with further options of dbt build, and wait for its end."""
        words = ["--always"] * always + ["--", *OPTIONS, *options]
        return self.run("life-stage", "run", *words, environment=environment)

    def operate(self, operation: str, *words: str, environment: dict[str, str] | None = None) -> Finished:
        """Run an operation of life-stage and wait for its end."""
        return self.run("life-stage", operation, "--vars", json.dumps(SMALL), *words, environment=environment)

    def dbt(
        self,
        *words: str,
        environment: dict[str, str] | None = None,
        file_bytes: int | None = None,
        seconds: float = 600,
    ) -> Finished:
        """Any dbt command in the shop's folder, to its end or until it is killed after some seconds."""
        words = ["--no-use-colors", *words, "--project-dir", ".", "--target-path", "target", "--log-path", "logs"]
        return self.run("dbt", *words, environment=environment, file_bytes=file_bytes, seconds=seconds)

    def run(
        self,
        *words: str,
        environment: dict[str, str] | None = None,
        file_bytes: int | None = None,
        seconds: float = 600,
    ) -> Finished:
        """A program and its words in the shop's folder, to its end or until it is killed after some seconds."""
        with TemporaryDirectory() as folder:
            output = Path(folder) / "output.txt"
            process = FORKS.Process(target=run, args=(list(words), self.folder, output, environment or {}, file_bytes))
            process.start()
            process.join(seconds)
            process.kill()
            process.join()
            finished = Finished(process.exitcode, output.read_text())
        codes = sorted(set(re.findall(r"LS-[A-Z]+-[0-9]{3}", finished.output)) - {"LS-PRI-003"})  # which is a notice
        ended = {0: "succeeded", -signal.SIGKILL: "killed"}.get(finished.exit_code, "failed")
        observe(f"run {ended} ({', '.join(codes)})" if codes else f"run {ended}")
        return finished

    def build(self, **variables) -> Finished:
        """Run the monthly job, which must succeed."""
        finished = self.start(**variables)
        assert finished.exit_code == 0, finished.output[-5000:]
        return finished

    def query(self, sql: str) -> list[tuple]:
        """The rows of a query on the warehouse."""
        with duckdb.connect(self.warehouse, read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def change(self, *statements: str) -> None:
        """Change the warehouse by hand, as an operation would: the next run skips no model."""
        with duckdb.connect(self.warehouse) as connection:
            for statement in statements:
                connection.execute(statement)
            here = "select table_name from duckdb_tables() where database_name = current_database()"
            records = {"node_hashes": "true", "build_log": f"regexp_full_match(model, '{DERIVED}')"}
            for table in {name for (name,) in connection.execute(here).fetchall()} & records.keys():
                connection.execute(f"delete from {table} where {records[table]}")

    def frame(self, table: str, where: str = "true") -> pd.DataFrame:
        """The rows of a table, in the order of frame_of."""
        with duckdb.connect(self.warehouse, read_only=True) as connection:
            return frame_of(connection, table, where)

    def tables(self) -> list[str]:
        """The names of the warehouse's tables, without the hashes of what the next run may skip."""
        sql = "select table_name from duckdb_tables() where schema_name = 'main' and table_name <> 'node_hashes'"
        return [name for (name,) in self.query(sql)]

    def run_of_months(self, model: str) -> dict[str, str]:
        """{month: the run that built it last} of a table that is built month by month."""
        sql = f"select strftime(month, '%Y-%m'), run_id from build_log where model = '{model}'"
        return dict(self.query(sql))

    def published_set(self) -> str | None:
        """The published set: the target of the link."""
        return os.readlink(self.published) if self.published.is_symlink() else None

    def contents(self) -> dict[str, tuple]:
        """Count and hash of every table, and every published byte, which a failed run must not change.

        It adds its own row to model_runs, which is left out.
        """
        sql = "select count(*), sum(hash(t)) from {0} as t"
        lasting = " where '{0}' <> 'model_runs' or to_json(t) ->> 'status' is distinct from 'failed'"
        names = self.tables()
        # Over one connection: to open the file takes a tenth of a second.
        with duckdb.connect(self.warehouse, read_only=True) as connection:
            kept = {name: connection.execute((sql + lasting).format(name)).fetchone() for name in names}
        kept = {name: found for name, found in kept.items() if name != "model_runs" or found[0]}
        sets = sorted(path for path in self.folder.glob("published.sets/**/*") if path.is_file())
        kept["published"] = (self.published_set(), *(hashlib.sha256(path.read_bytes()).hexdigest() for path in sets))
        return kept

    def add_months(self, of: "Shop", months: list[str]) -> None:
        """Add months of another shop's actions, a folder each."""
        for month in months:
            shutil.copytree(of.source / "actions" / f"month={month}", self.source / "actions" / f"month={month}")

    def write(self, path: str, select: str) -> None:
        """Write a file of the source, Parquet or CSV, from the rows of a query."""
        file = self.source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        duckdb.sql(f"copy ({select}) to '{file}'")


def make_shop(folder: Path, like: Shop | None = None) -> Shop:
    """A folder with the project's files, without source and warehouse; `like` provides the parsed project."""
    folder.mkdir(parents=True)
    for name in PROJECT_FILES:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy2
        copy(PROJECT / name, folder / name)
    (folder / "python").symlink_to(PROJECT / "python")
    if like is not None:
        shutil.copytree(like.folder / "target", folder / "target", ignore=shutil.ignore_patterns("run", "compiled"))
    return Shop(folder)


def shared_folder(tmp_path_factory) -> Path:
    """The folder of all test processes of a session."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder made by the first test process that needs it, shared by all: copy it, never change it."""
    shared = shared_folder(tmp_path_factory)
    folder, finished = shared / name, shared / f"{name}.finished"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            make(folder)
            finished.touch()
    return folder


def copy_shop(shop: Shop, folder: Path) -> Shop:
    """A copy of the folder with its warehouse and its published set."""
    shutil.copytree(shop.folder, folder, symlinks=True)
    return Shop(folder)


def pin_model(shop: Shop, of: Shop) -> None:
    """Give a new warehouse the model of another, so that both score alike."""
    shop.change(
        f"attach '{of.warehouse}' as other (read_only)",
        "create table stage_coefficients as from other.stage_coefficients",
        "create table evaluation_coefficients as from other.evaluation_coefficients",
        "create table household_weights as from other.household_weights",
    )


def assert_stops(shop: Shop, code: str, *facts: str, **how) -> None:
    """Assert that the run fails with the code and the facts, without changing a table or a published byte."""
    before = shop.contents()
    finished = shop.start(**how)
    assert finished.exit_code != 0, finished.output[-3000:]
    after = shop.contents()
    assert {name for name in before | after if before.get(name) != after.get(name)} == set()
    lines = " ".join(finished.output.split())
    assert code in lines, lines[-3000:]
    message = lines[lines.index(code) :]
    for fact in facts:
        assert fact in message, message[:1500]
    observe("all tables and published files unchanged")


def frame_of(connection: duckdb.DuckDBPyConnection, table: str, where: str = "true") -> pd.DataFrame:
    """The rows of a table; those of equal content are equal whatever order they were written in."""
    rows = connection.execute(f"select * from {table} where {where}").df()
    doubles = list(rows.select_dtypes("float").columns)
    return rows.sort_values([c for c in rows.columns if c not in doubles] + doubles, ignore_index=True)


def assert_same(left: Shop, right: Shop, tables: list[str], where: str = "true", ignore: tuple = ("run_id",)) -> None:
    """Assert that tables hold the same rows in both warehouses, doubles to 1e-9."""
    with ExitStack() as opened:
        both = [opened.enter_context(duckdb.connect(shop.warehouse, read_only=True)) for shop in (left, right)]
        for table in tables:
            found, expected = (frame_of(one, table, where).drop(columns=list(ignore), errors="ignore") for one in both)
            assert set(found.columns) == set(expected.columns), table
            pd.testing.assert_frame_equal(
                found[expected.columns], expected, check_exact=False, rtol=0, atol=1e-9, obj=table
            )
            assert len(expected) > 0, f"{table} is empty in both"
