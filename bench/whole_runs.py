"""Cost of whole runs by node, and their storage: first build, a new month without and with a model due, nothing new.

A run is a process with one dbt thread, which builds and tests as `make build` does; DuckDB's threads are those of the
profile, because CPU is measured. A scan of every value of the actions is the reference. DuckDB's memory limit is 3 GB,
with a hundred million actions 2 GB. python bench/whole_runs.py [MILLIONS_OF_ACTIONS ...]; QUICK=1: one million, one
round
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import duckdb
import harness

USERS_PER_MILLION, MONTHS, NEWEST = 4_000, 24, "2017-02"
DUE = "2017-03"  # month after those that are counted; with a model every second month one is due
EVERY = {"training_every_months": 2}
# A hundred million actions: a million users with 40 % of their simulated actions, so many users with low activity.
MANY, USERS_OF_MANY, KEPT_OF_MANY, MEMORY_OF_MANY = 100, 1_000_000, 0.4, "2GB"
SHORT, ROUNDS = 12, min(harness.RUNS, 3)  # months of the short history; rounds, one with more than 4 million actions
DEAREST = 30  # nodes and tables that are stored
POSTERIORS = ("birth_month_filter", "presence_filter", "household_stages", "household_children", "dynamic_fusion")
POSTERIORS += ("stage_scores", "stage_log_likelihoods", "user_stage_months")  # and the tables of cells


def scan(source: Path) -> dict[str, float]:
    """Figures of a query that reads every value of the actions on two threads."""
    with harness.cpu() as figures, duckdb.connect() as connection:
        connection.execute("set threads = 2; set preserve_insertion_order = false")
        actions = connection.read_parquet(f"{source}/actions/*/*.parquet")
        actions.aggregate(", ".join(f"bit_xor(hash({column}))" for column in actions.columns)).fetchall()
    return figures


def job(source: Path, name: str) -> dict[str, float]:
    """CPU seconds of this process, which runs `dbt build` as `make build` does, in all and by node."""
    from dbt.cli.main import dbtRunner  # its import is part of the measured process

    nodes, last = Counter(), 0.0

    def attribute(event) -> None:
        nonlocal last
        if event.info.name not in ("NodeStart", "NodeFinished"):
            return
        before, last = last, harness.self_cpu()
        if event.info.name == "NodeFinished":
            node = event.data.node_info
            nodes["data tests" if node.resource_type == "test" else node.node_name] += last - before

    os.environ.update(harness.environment_of(source, name))
    os.chdir(harness.PROJECT)
    words = ["--quiet", "--warn-error", "build", "--threads", "1", *harness.options_of(name, **EVERY)]
    ended = dbtRunner(callbacks=[attribute]).invoke(words)
    if not ended.success:
        raise RuntimeError(f"dbt build of {name} failed: {ended.exception}")
    total = harness.self_cpu()
    nodes["dbt itself"] = total - nodes.total()
    return {"cpu_s": total, "nodes": {node: round(spent, 3) for node, spent in nodes.most_common(DEAREST)}}


def nothing_new(source: Path, name: str, *, first: bool = False) -> None:
    """The job with nothing new, a comparison of files; first: note the digest, as the run that published would."""
    noting = "from pathlib import Path; from life_stage.engine.unchanged import inputs_digest, mark_published"
    noting += "; mark_published(inputs_digest(Path.cwd()))"
    command = [sys.executable, *(["-c", noting] if first else ["-m", "life_stage.commands.command_line", "run"])]
    environment = os.environ | harness.environment_of(source, name)
    subprocess.run(command, check=True, env=environment, cwd=harness.PROJECT, stdout=sys.stderr)


def runs_of(name: str, source: Path) -> dict[str, dict]:
    """Figures of the first build without the newest month, and of the runs after it."""
    for path in harness.WORK.glob(f"{name}[._]*"):  # warehouse, published sets, dbt's files
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    run = partial(harness.measured, job, source, name)
    withhold(source, NEWEST, DUE)
    runs = {"first build": run() | {"storage": storage(source, name)}}
    withhold(source, DUE)
    runs["one new month"] = run() | {"storage": storage(source, name)}
    withhold(source)
    runs["one new month, model due"] = run()
    runs["nothing new, dbt build"] = run()
    nothing_new(source, name, first=True)
    runs["nothing new, make build"] = harness.measured(harness.of_children, partial(nothing_new, source, name))
    withhold(source, DUE)
    return runs


def withhold(source: Path, *months: str) -> None:
    """Take these months out of the source, and put all others back."""
    actions, withheld = source / "actions", source / "withheld"
    withheld.mkdir(exist_ok=True)
    for folder in list(withheld.iterdir()):
        folder.rename(actions / folder.name)
    for month in months:
        (actions / f"month={month}").rename(withheld / f"month={month}")


def storage(source: Path, name: str) -> dict:
    """Bytes of source, warehouse, its tables (in whole blocks), and of the posteriors per row of user_stage_months."""
    warehouse, others = harness.WORK / f"{name}.duckdb", {source / "truth", source / "withheld"}
    files = [file for file in source.rglob("*.parquet") if others.isdisjoint(file.parents)]
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        ((block_size,),) = connection.execute("select block_size from pragma_database_size()").fetchall()
        blocks = "select unnest(list_append(additional_block_ids, block_id)) as id from pragma_storage_info(?)"
        blocks = f"select count(distinct id) from ({blocks}) where id >= 0"
        names = [table for (table,) in connection.execute("select table_name from duckdb_tables()").fetchall()]
        tables = {table: block_size * connection.execute(blocks, [table]).fetchall()[0][0] for table in names}
        largest = [table for table, _ in Counter(tables).most_common(DEAREST)]
        rows = {table: connection.table(table).shape[0] for table in {*largest, "user_stage_months"}}
    of_posteriors = sum(size for table, size in tables.items() if table in POSTERIORS or table.endswith("_cells"))
    return {
        "source": sum(file.stat().st_size for file in files),
        "warehouse": warehouse.stat().st_size,
        "n_user_months": rows["user_stage_months"],
        "bytes_a_user_month": of_posteriors / rows["user_stage_months"],
        "tables": {table: {"bytes": tables[table], "rows": rows[table]} for table in largest},
    }


def measure(millions: float, months: int) -> None:
    """Measure whole runs and the scan on one source in turn; print and store the figures."""
    is_many = millions == MANY
    users, share = (USERS_OF_MANY, KEPT_OF_MANY) if is_many else (int(USERS_PER_MILLION * millions), 1.0)
    os.environ["LIFE_STAGE_MEMORY"] = MEMORY_OF_MANY if is_many else harness.MEMORY
    name = f"whole_{millions:g}_{users}_{months}".replace(".", "_")
    source = harness.demo_source(f"source_of_{name}", users=users, months=months + 1, through=DUE, kept=share)
    withhold(source, DUE)
    ((n_actions,),) = duckdb.sql(f"select count(*) from '{source}/actions/*/*.parquet'").fetchall()
    rounds, runs = (ROUNDS if millions <= 4 else 1), {}
    for number in range(1, rounds + 1):
        harness.progress(f"{name}: round {number} of {rounds}")
        this_round = {"scan": harness.in_turn({"scan": partial(harness.measured, scan, source)}, runs=1)["scan"][0]}
        for kind, figures in (this_round | runs_of(name, source)).items():
            runs.setdefault(kind, []).append(figures)
    kept = {"n_actions": n_actions, "n_users": users, "months": months, "runs": runs}
    kept["ratio_to_scan"] = {"first build": harness.ratio(runs, "first build", "scan")}
    harness.keep(f"whole_runs_{millions:g}_{months}", kept)
    harness.show(f"{n_actions:,} actions, {users:,} users, {months} months", runs, kept["ratio_to_scan"])


def main(sizes: list[float]) -> None:
    """Measure every size over 24 months, and four million actions also over a shorter history."""
    for millions in sizes:
        for months in (SHORT, MONTHS) if millions == 4 else (MONTHS,):
            measure(millions, months)


if __name__ == "__main__":
    main([float(word) for word in sys.argv[1:]] or ([1] if harness.QUICK else [4, 20]))
