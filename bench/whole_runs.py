"""Cost of whole runs against reading their input: first build, one new month, no new data; and as data grows.

Each figure of a run is that of a whole process, the start of dbt included. Runs are compared with what nobody can do
without: reading every value of every column of the actions, and counting the actions of every user and month. DuckDB
is held to 3 GB, with a hundred million actions to 2 GB, whatever the machine has.
python bench/whole_runs.py [MILLIONS_OF_ACTIONS ...]; QUICK=1: one million, once
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
    cpu,
    dbt,
    demo_source,
    folder_of,
    in_turn,
    keep,
    measured,
    of_children,
    ratio,
    run_results,
)

USERS_PER_MILLION, MONTHS, NEWEST = 4_000, 24, "2017-02"
# A hundred million actions are those of a million users, of which two in five stay: many users who do little.
MANY, USERS_OF_MANY, KEPT_OF_MANY, MEMORY_OF_MANY = 100, 1_000_000, 0.4, "2GB"
HISTORIES = () if QUICK else (6, 12)  # months, beside all of them
KINDS = "first build", "one new month", "nothing new", "dbt alone"


def bare(sql: str, source: Path) -> dict[str, float]:
    """A query over all actions on two threads, in a process that does nothing else."""
    actions = f"read_parquet('{source}/actions/*/*.parquet')"
    with cpu() as figures, duckdb.connect() as connection:
        connection.execute("set threads = 2; set preserve_insertion_order = false")
        connection.execute(sql.format(actions=actions)).fetchall()
    return figures


def hashes(source: Path) -> str:
    """A query that reads every value of every column."""
    columns = duckdb.sql(f"from read_parquet('{source}/actions/*/*.parquet')").columns
    return f"select {', '.join(f'bit_xor(hash({column}))' for column in columns)} from {{actions}}"


def job(name: str, source: Path, *words: str) -> dict[str, float]:
    """The monthly job as `dbt build` without data tests."""
    figures = of_children(partial(dbt, source, name, "build", "--exclude-resource-type", "test", *words))
    return figures | {"steps": steps(name)}


def steps(name: str) -> dict[str, float]:
    """Seconds of the run's models by the folder they lie in; two run at a time, so they may overlap."""
    nodes = json.loads((WORK / f"{name}_target" / "manifest.json").read_text())["nodes"]
    found: dict[str, float] = {}
    for result in run_results(name):
        folder = "/".join(nodes[result["unique_id"]]["fqn"][1:-1]) if result["unique_id"] in nodes else "hooks"
        found[folder] = found.get(folder, 0) + result["execution_time"]
    return found


def runs_of(name: str, source: Path, *, all_kinds: bool) -> dict[str, dict]:
    """First build without the newest month; the run after it has come, one with nothing new, and one of one seed."""
    for file in WORK.glob(f"{name}.duckdb*"):
        file.unlink()
    newest, aside = source / "actions" / f"month={NEWEST}", source / "withheld"
    newest.rename(aside)
    try:
        first = measured(job, name, source)
    finally:
        aside.rename(newest)
    if not all_kinds:
        return {KINDS[0]: first}
    second, third = measured(job, name, source), measured(job, name, source)
    alone = measured(job, name, source, "--select", "action_synonyms")
    return dict(zip(KINDS, (first, second, third, alone), strict=True))


def size(source: Path) -> dict[str, float]:
    """What the source holds."""
    files = list(source.glob("actions/*/*.parquet"))
    ((n_actions,),) = duckdb.sql(f"select count(*) from read_parquet({[str(f) for f in files]})").fetchall()
    return {"n_actions": n_actions, "mb": sum(file.stat().st_size for file in files) / 1e6}


def runs_kept(name: str) -> dict[str, list[dict]]:
    """The runs that results hold of this very code: after a change of the code all begin again."""
    file = RESULTS / f"{name}.json"
    kept = json.loads(file.read_text()) if file.exists() and not QUICK and not IS_CHANGED else {"commit": None}
    return kept["figures"]["runs"] if kept["commit"] == COMMIT else {}


def measure(millions: float, months: int) -> None:
    """Whole runs and bare queries on one source in turn, printed and kept.

    Of a hundred million actions a round takes an hour: each is kept when it is over, and whoever starts again goes on
    from there, if the code is committed and the same; all kinds of runs are made in the last round alone.
    """
    is_many = millions == MANY
    users, share = (USERS_OF_MANY, KEPT_OF_MANY) if is_many else (int(USERS_PER_MILLION * millions), 1.0)
    os.environ["LIFE_STAGE_MEMORY"] = MEMORY_OF_MANY if is_many else MEMORY
    name, result = f"whole_{millions:g}_{users}_{months}".replace(".", "_"), f"whole_runs_{millions:g}_{months}"
    source = demo_source(f"{name}_source", users=users, months=months, through=NEWEST, kept=share)
    if (withheld := source / "withheld").exists():  # left by one that was killed
        withheld.rename(source / "actions" / f"month={NEWEST}")
    counted = "select user_id, date_trunc('month', occurred_at), count(*) from {actions} group by all"
    scans = {"scan": partial(measured, bare, hashes(source), source), "count": partial(measured, bare, counted, source)}
    facts = size(source) | {"n_users": users, "months": months}
    n_rounds, runs = min(RUNS, 3) if is_many else RUNS, runs_kept(result) if is_many else {}
    n_kept = len(runs.get("scan", ()))
    print(f"{name}: {n_kept} of {n_rounds} rounds are there", file=sys.stderr, flush=True)
    for number in range(n_kept + 1, n_rounds + 1):
        print(f"{name}: round {number} of {n_rounds}", file=sys.stderr, flush=True)
        bare_runs = {kind: one[0] for kind, one in in_turn(scans, runs=1).items()}
        of_round = bare_runs | runs_of(name, source, all_kinds=number == n_rounds or not is_many)
        for kind, figures in of_round.items():
            runs.setdefault(kind, []).append(figures)
        if is_many or number == n_rounds:
            ratios = {
                kind: ratio({"scan": runs["scan"][-len(of) :], kind: of}, kind, "scan") for kind, of in runs.items()
            }
            kept = facts | {"runs": runs, "ratio_to_scan": ratios}
            keep(result, kept)
            show(kept)


def simulator(users: int) -> dict:
    """What it costs to simulate shoppers on one processor, and how many actions they do."""
    source, runs = folder_of("simulated"), []
    for _ in range(RUNS):
        shutil.rmtree(source, ignore_errors=True)
        made = partial(demo_source, "simulated", users=users, months=MONTHS, through=NEWEST, jobs=1)
        runs.append(measured(of_children, made))
    return size(source) | {"n_users": users, "months": MONTHS, "runs": runs}


def show(figures: dict) -> None:
    """Print what was measured of one source."""
    print(f"{figures['n_actions']:,} actions, {figures['n_users']:,} users, {figures['months']} months")
    for kind, runs in figures["runs"].items():
        middle = {key: np.median([run[key] for run in runs]) for key in ("cpu_s", "wall_s", "peak_mb")}
        print(
            f"  {kind:14} {middle['cpu_s']:8.1f} CPU-s {middle['wall_s']:8.1f} s {middle['peak_mb']:8,.0f} MiB"
            f" {figures['ratio_to_scan'][kind]:8.1f} x the scan"
        )


def main(sizes: list[float]) -> None:
    """Measure every size over 24 months; the first, if no hundred million, over fewer too, and being simulated."""
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
