"""Cost of whole runs against reading their input: first build, one new month, no new data; and as data grows.

Each figure is that of a whole process, including the start of dbt. Two queries are the reference: a scan of every value
of the actions, and a count of the actions by user and month. DuckDB's memory limit is 3 GB, with a hundred million
actions 2 GB. python bench/whole_runs.py [MILLIONS_OF_ACTIONS ...]; QUICK=1: one million, one round
"""

import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
from measuring import (
    COMMIT,
    IS_CHANGED,
    MEMORY,
    QUICK,
    RESULTS,
    RUNS,
    WORK,
    child_usage,
    cpu,
    dbt,
    demo_source,
    folder_of,
    in_turn,
    keep,
    measured,
    ratio,
    run_results,
)

USERS_PER_MILLION, MONTHS, NEWEST = 4_000, 24, "2017-02"
# A hundred million actions: a million users with 40 % of their simulated actions, so many users with low activity.
MANY, USERS_OF_MANY, KEPT_OF_MANY, MEMORY_OF_MANY = 100, 1_000_000, 0.4, "2GB"
HISTORIES = () if QUICK else (6, 12)  # months, in addition to MONTHS
KINDS = "first build", "one new month", "nothing new", "dbt alone"


def bare(sql: str, source: Path) -> dict[str, float]:
    """Figures of a query over all actions on two threads."""
    actions = f"read_parquet('{source}/actions/*/*.parquet')"
    with cpu() as figures, duckdb.connect() as connection:
        connection.execute("set threads = 2; set preserve_insertion_order = false")
        connection.execute(sql.format(actions=actions)).fetchall()
    return figures


def scan_query(source: Path) -> str:
    """A query that reads every value of every column."""
    columns = duckdb.sql(f"from read_parquet('{source}/actions/*/*.parquet')").columns
    return f"select {', '.join(f'bit_xor(hash({column}))' for column in columns)} from {{actions}}"


def job(name: str, source: Path, *words: str) -> dict[str, float]:
    """Figures of the monthly job, `dbt build` without data tests."""
    figures = child_usage(partial(dbt, source, name, "build", "--exclude-resource-type", "test", *words))
    return figures | {"steps": steps(name)}


def steps(name: str) -> dict[str, float]:
    """Seconds of the run's models by folder; two run at a time, so they may overlap."""
    nodes = json.loads((WORK / f"{name}_target" / "manifest.json").read_text())["nodes"]
    found: dict[str, float] = {}
    for result in run_results(name):
        folder = "/".join(nodes[result["unique_id"]]["fqn"][1:-1]) if result["unique_id"] in nodes else "hooks"
        found[folder] = found.get(folder, 0) + result["execution_time"]
    return found


def runs_of(name: str, source: Path, *, all_kinds: bool) -> dict[str, dict]:
    """Figures of the first build without the newest month, the run with it, a run without new data, and dbt alone."""
    for file in WORK.glob(f"{name}.duckdb*"):
        file.unlink()
    newest, withheld = source / "actions" / f"month={NEWEST}", source / "withheld"
    newest.rename(withheld)
    try:
        first = measured(job, name, source)
    finally:
        withheld.rename(newest)
    if not all_kinds:
        return {KINDS[0]: first}
    second, third = measured(job, name, source), measured(job, name, source)
    alone = measured(job, name, source, "--select", "action_synonyms")
    return dict(zip(KINDS, (first, second, third, alone), strict=True))


def size(source: Path) -> dict[str, float]:
    """Number of actions and megabytes of the source."""
    files = list(source.glob("actions/*/*.parquet"))
    ((n_actions,),) = duckdb.sql(f"select count(*) from read_parquet({[str(f) for f in files]})").fetchall()
    return {"n_actions": n_actions, "mb": sum(file.stat().st_size for file in files) / 1e6}


def runs_kept(name: str) -> dict[str, list[dict]]:
    """The stored runs of the same commit; none after a change of the code."""
    file = RESULTS / f"{name}.json"
    kept = json.loads(file.read_text()) if file.exists() and not QUICK and not IS_CHANGED else {"commit": None}
    return kept["figures"]["runs"] if kept["commit"] == COMMIT else {}


def measure(millions: float, months: int) -> None:
    """Measure whole runs and bare queries on one source in turn; print and store the figures.

    With a hundred million actions every round is stored at its end, and a new start on the same commit resumes there;
    only the last round has all kinds of runs.
    """
    is_many = millions == MANY
    users, share = (USERS_OF_MANY, KEPT_OF_MANY) if is_many else (int(USERS_PER_MILLION * millions), 1.0)
    os.environ["LIFE_STAGE_MEMORY"] = MEMORY_OF_MANY if is_many else MEMORY
    name, result = f"whole_{millions:g}_{users}_{months}".replace(".", "_"), f"whole_runs_{millions:g}_{months}"
    source = demo_source(f"{name}_source", users=users, months=months, through=NEWEST, kept=share)
    if (withheld := source / "withheld").exists():  # left by a killed benchmark
        withheld.rename(source / "actions" / f"month={NEWEST}")
    counted = "select user_id, date_trunc('month', occurred_at), count(*) from {actions} group by all"
    scans = {
        "scan": partial(measured, bare, scan_query(source), source),
        "count": partial(measured, bare, counted, source),
    }
    facts = size(source) | {"n_users": users, "months": months}
    n_rounds, runs = min(RUNS, 3) if is_many else RUNS, runs_kept(result) if is_many else {}
    n_kept = len(runs.get("scan", ()))
    print(f"{name}: {n_kept} of {n_rounds} rounds are stored", file=sys.stderr, flush=True)
    for number in range(n_kept + 1, n_rounds + 1):
        print(f"{name}: round {number} of {n_rounds}", file=sys.stderr, flush=True)
        bare_runs = {kind: one[0] for kind, one in in_turn(scans, runs=1).items()}
        this_round = bare_runs | runs_of(name, source, all_kinds=number == n_rounds or not is_many)
        for kind, figures in this_round.items():
            runs.setdefault(kind, []).append(figures)
        if is_many or number == n_rounds:
            ratios = {
                kind: ratio({"scan": runs["scan"][-len(of) :], kind: of}, kind, "scan") for kind, of in runs.items()
            }
            kept = facts | {"runs": runs, "ratio_to_scan": ratios}
            keep(result, kept)
            show(kept)


def simulator(users: int) -> dict:
    """Cost of simulating shoppers in one process, with the number of their actions."""
    source, runs = folder_of("simulated"), []
    for _ in range(RUNS):
        shutil.rmtree(source, ignore_errors=True)
        made = partial(demo_source, "simulated", users=users, months=MONTHS, through=NEWEST, jobs=1)
        runs.append(measured(child_usage, made))
    return size(source) | {"n_users": users, "months": MONTHS, "runs": runs}


def show(figures: dict) -> None:
    """Print the figures of one source."""
    print(f"{figures['n_actions']:,} actions, {figures['n_users']:,} users, {figures['months']} months")
    for kind, runs in figures["runs"].items():
        middle = {key: np.median([run[key] for run in runs]) for key in ("cpu_s", "wall_s", "peak_mb")}
        print(
            f"  {kind:14} {middle['cpu_s']:8.1f} CPU-s {middle['wall_s']:8.1f} s {middle['peak_mb']:8,.0f} MiB"
            f" {figures['ratio_to_scan'][kind]:8.1f} x the scan"
        )


def main(sizes: list[float]) -> None:
    """Measure every size over 24 months; the first size also over fewer months, with the cost of its simulation."""
    if sizes[0] != MANY:
        for months in HISTORIES:
            measure(sizes[0], months)
        made = simulator(int(USERS_PER_MILLION * sizes[0]))
        seconds = np.median([run["cpu_s"] for run in made["runs"]])
        print(f"simulated {made['n_actions']:,} actions, {made['n_actions'] / seconds:,.0f} per CPU-s")
        keep("simulator", made)
    for millions in sizes:
        measure(millions, MONTHS)


if __name__ == "__main__":
    main([float(word) for word in sys.argv[1:]] or ([1] if QUICK else [4, 20]))
