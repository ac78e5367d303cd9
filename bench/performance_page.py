"""Generator of docs/performance.md and the table in README's section Scale, from bench/results.

python bench/performance_page.py
"""

import re
from itertools import pairwise
from math import log2

import numpy as np
import pandas as pd
from measuring import RESULTS
from results_page import DOCS, markdown, number, results, wrapped

RUNS = ("first build", "one new month", "one new month, model due", "nothing new, dbt build", "nothing new, make build")
N_DEAREST = 12  # nodes and tables
PEERS = {
    "project": "project SQL",
    "duckdb_script": "DuckDB script",
    "polars": "Polars, streaming",
    "pandas_merge": "pandas, same algorithm",
    "pandas_explode": "pandas, exploded features",
    "spark": "PySpark, local[2]",
}
SCORING_STEPS = {
    "bare scan": "bare scan of the columns read",
    "features and log-likelihoods": "features and log-likelihood",
    "push-down": "the same, weights summed per item first",
}
README_TABLE = re.compile(r"(## Scale\n.*?\n\n)\|.*?\n\n", flags=re.S)
FIGURES = ("cpu_s", "wall_s", "peak_mb")


def middle(runs: list[dict]) -> dict[str, float]:
    """The medians of runs."""
    return {figure: float(np.median([run[figure] for run in runs])) for figure in FIGURES}


def megabytes(figures: dict[str, float]) -> float:
    """The peak, which is kept in mebibytes, in millions of bytes."""
    return figures["peak_mb"] * 2**20 / 1e6


def printed(figures: dict[str, float]) -> list[str]:
    """CPU and wall seconds, and megabytes."""
    return [f"{figures['cpu_s']:.1f}", f"{figures['wall_s']:.1f}", f"{megabytes(figures):,.0f}"]


def in_a_cell(figures: dict[str, float]) -> str:
    """CPU and wall seconds, and megabytes, in one cell."""
    numbers = figures["cpu_s"], figures["wall_s"], megabytes(figures)
    return " / ".join(f"{of:,.{int(of < 10)}f}" for of in numbers)


def by_size(name: str) -> list[dict]:
    """The kept figures of a benchmark, a dictionary per size with its commit, the fewest actions first."""
    kept = [results(file.stem) for file in RESULTS.glob(f"{name}_*.json")]
    return sorted((one["figures"] | {"commit": one["commit"]} for one in kept), key=lambda one: one["n_actions"])


def whole_runs(sources: list[dict]) -> str:
    """Every kind of run on every source."""
    rows = []
    for figures in sources:
        runs = [figures["runs"].get(kind, []) for kind in RUNS]
        rows.append(
            [
                f"{figures['n_actions']:,}",
                f"{figures['n_users']:,}",
                str(figures["months"]),
                *(in_a_cell(middle(of_kind)) if of_kind else "" for of_kind in runs),
                f"{figures['ratio_to_scan']['first build']:.0f}",
                ", ".join(str(len(of_kind)) for of_kind in runs),
                figures["commit"],
            ]
        )
    return markdown(["actions", "users", "months", *RUNS, "x scan", "rounds", "commit"], rows)


def millions(figures: dict) -> str:
    """The number of actions, and of users where it is known."""
    users = f", {figures['n_users']:,} users" if "n_users" in figures else ""
    return f"{figures['n_actions'] / 1e6:,.0f} million actions{users}"


def cpu_of(figures: dict, kind: str) -> float:
    """The median of the CPU seconds of a kind of run."""
    return float(np.median([run["cpu_s"] for run in figures["runs"].get(kind, [])] or np.nan))


def storage_of(figures: dict) -> dict:
    """Storage after the newest month, where it is measured."""
    return figures["runs"].get("one new month", [{}])[-1].get("storage", {})


def with_24_months(sources: list[dict]) -> list[dict]:
    """The sources without the short history."""
    return [figures for figures in sources if figures["months"] == 24]


def per_doubling(sources: list[dict]) -> list[float]:
    """Times the CPU of a first build that twice the actions and users cost, within a commit; not a million users."""
    return [
        (cpu_of(more, "first build") / cpu_of(fewer, "first build"))
        ** (1 / log2(more["n_actions"] / fewer["n_actions"]))
        for fewer, more in pairwise(with_24_months(sources))
        if fewer["commit"] == more["commit"] and more["n_users"] < 1e6
    ]


def by_history(sources: list[dict]) -> list[float]:
    """Times the CPU of a new month with 24 months of history instead of 12, within a commit."""
    found = {(one["n_users"], one["commit"], one["months"]): cpu_of(one, "one new month") for one in sources}
    return [
        cpu / found[users, commit, 12]
        for (users, commit, months), cpu in found.items()
        if months == 24 and (users, commit, 12) in found
    ]


def goals(sources: list[dict], sizes: list[dict]) -> str:
    """Goals and figures; those without a figure were not measured."""
    few, many = sizes[0]["ratio_to_project"], sizes[-1]["ratio_to_project"]
    n_few, n_many = millions(sizes[0]), millions(sizes[-1])
    small, large = with_24_months(sources)[0], sources[-1]
    n_large = millions(large)
    most = max(megabytes(middle(large["runs"][kind])) for kind in RUNS if kind in large["runs"])
    stored = storage_of(large)
    of_cpu = [
        ("nothing new, make build", small, 0.2),
        ("nothing new, dbt build", small, 12),
        ("nothing new, make build", large, 0.5),
        ("nothing new, dbt build", large, 25),
        ("one new month", small, 28),
        ("one new month, model due", small, 40),
        ("one new month", large, 240),
        ("first build", small, 100),
        ("first build", large, 1600),
    ]
    wanted = [
        *((f"{kind}: {millions(of)}, CPU-s", "at most", goal, cpu_of(of, kind)) for kind, of, goal in of_cpu),
        (f"first build: {n_large}, x full scan", "at most", 290, large["ratio_to_scan"]["first build"]),
        *(("first build: per doubling of actions and users, ratio", "at most", 2.1, x) for x in per_doubling(sources)),
        *(("one new month: history of 24 against 12 months, ratio", "at most", 1.05, x) for x in by_history(sources)),
        (f"peak memory: {n_large}, GB", "at most", 3, most / 1e3),
        (f"posteriors: {n_large}, bytes a user-month", "at most", 200, stored.get("bytes_a_user_month", np.nan)),
        (f"warehouse: {n_large}, x source", "at most", 6, stored.get("warehouse", np.nan) / stored.get("source", 1)),
        ("features and log-likelihood of a month, x bare scan", "at most", 30, evidence_ratio()),
        (f"the same, {n_few}, x Polars", "at most", 1.15, 1 / few.get("polars", np.nan)),
        (f"pandas, {n_few}, x project", "at least", 2, few.get("pandas_merge", np.nan)),
        (f"pandas with exploded features, {n_few}, x project", "at least", 5, few.get("pandas_explode", np.nan)),
        (f"PySpark, {n_many}, x project", "at least", 4, many.get("spark", np.nan)),
    ]
    rows = []
    for name, bound, goal, found in wanted:
        is_missed = found > goal if bound == "at most" else found < goal
        rows.append([name, f"{bound} {goal:,g}", number(found, 0 if found > 100 else 2), "missed" if is_missed else ""])
    return markdown(["CPU, memory or storage", "goal", "measured", ""], rows)


def evidence_ratio() -> float:
    """CPU of features and log-likelihood, as a multiple of a bare scan of their columns."""
    return results("scoring_cost")["figures"]["ratio_to_bare_scan"]["features and log-likelihoods"]


def scale(sources: list[dict]) -> str:
    """README's table: wall time and memory of runs with 24 months."""
    shown = with_24_months(sources)
    middles = [{kind: middle(runs) for kind, runs in figures["runs"].items()} for figures in shown]
    rows = [[kind, *(duration(of[kind]["wall_s"]) if kind in of else "" for of in middles)] for kind in RUNS]
    most = [max(megabytes(of[kind]) for kind in RUNS if kind in of) for of in middles]
    rows.append(["peak memory", *(f"{mb / 1e3:.1f} GB" for mb in most)])
    rows.append(["measured first builds", *(str(len(figures["runs"]["first build"])) for figures in shown)])
    return markdown(["", *map(millions, shown)], rows)


def duration(of_seconds: float) -> str:
    """In minutes and seconds, from ten minutes on in minutes, below ten seconds with a digit after the point."""
    if of_seconds < 10:
        return f"{of_seconds:.1f} s"
    minutes, rest = divmod(round(of_seconds), 60)
    if minutes >= 10:
        return f"{of_seconds / 60:.0f} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def dearest(figures: dict) -> str:
    """The nodes with the most CPU of each kind of run, medians over the rounds."""
    runs = {kind: of_kind for kind, of_kind in figures["runs"].items() if "nodes" in of_kind[0]}
    nodes = [pd.DataFrame([run["nodes"] for run in of_kind]).median().nlargest(N_DEAREST) for of_kind in runs.values()]
    cells = [[f"{node} {spent:.1f}" for node, spent in of_kind.items()] for of_kind in nodes]
    return markdown(runs, zip(*cells, strict=True))


def tables(figures: dict) -> str:
    """The largest tables of the warehouse."""
    stored, rows = storage_of(figures), []
    for table, of in list(stored.get("tables", {}).items())[:N_DEAREST]:
        per_row, per_user_month = of["bytes"] / of["rows"], of["bytes"] / stored["n_user_months"]
        rows.append(
            [f"`{table}`", f"{of['bytes'] / 1e6:,.0f}", f"{of['rows']:,}", f"{per_row:.0f}", f"{per_user_month:.0f}"]
        )
    return markdown(["table", "MB", "rows", "bytes a row", "bytes a user-month"], rows)


def scoring() -> str:
    """Scoring of a month: the project's SQL, the scan of its columns, and push-down."""
    runs = results("scoring_cost")["figures"]["runs"]
    rows = [[SCORING_STEPS[step], *printed(middle(of_step)), str(len(of_step))] for step, of_step in runs.items()]
    return markdown(["step", "CPU-s", "seconds", "peak MB", "rounds"], rows)


def peers(sizes: list[dict]) -> str:
    """Features and log-likelihood of one month by method, a group of columns per number of actions."""
    header, rows = ["implementation"], {peer: [name] for peer, name in PEERS.items()}
    for figures in sizes:
        n_runs = len(figures["runs"]["project"])
        header += [f"{figures['n_actions']:,} actions, {n_runs} runs", "x project"]
        for peer, row in rows.items():
            runs = figures["runs"].get(peer)
            row += [in_a_cell(middle(runs)), f"{figures['ratio_to_project'][peer]:.2f}"] if runs else ["", ""]
    return markdown(header, rows.values())


def versions() -> str:
    """Commits and machines of the benchmarks, and versions of packages."""
    kept = {file.stem: results(file.stem) for file in sorted(RESULTS.glob("*.json"))}
    names = [name for name in kept if name.startswith(("peers", "scoring_cost", "whole_runs"))]
    rows: dict[tuple[str, str], list[str]] = {}
    for name in names:
        rows.setdefault((kept[name]["commit"], kept[name]["machine"]), []).append(f"`{name}`")
    packages = {f"{package} {of}" for name in names for package, of in kept[name]["versions"].items()}
    pythons = {f"Python {kept[name]['python']}" for name in names}
    table = markdown(["benchmark", "commit", "machine"], ([", ".join(of), *where] for where, of in rows.items()))
    return f"{table}\n\n{wrapped(', '.join([*sorted(pythons), *sorted(packages)]))}"


def page() -> str:
    """The document."""
    sources = by_size("whole_runs")
    shown = [figures for figures in (with_24_months(sources)[0], sources[-1]) if storage_of(figures)]
    by_node = "\n\n".join(f"{of['n_actions']:,} actions:\n\n{dearest(of)}" for of in shown)
    return f"""\
# Performance

CPU time, wall time, peak memory and storage of runs on simulated data: medians of rounds.
`make bench` repeats the measurements, `python bench/performance_page.py` writes this page.

- Raw figures: [bench/results](../bench/results).
- Ratios are medians over rounds and differ from quotients of the columns.
- Runs and peers are whole processes. Scans and scoring exclude the start of Python.
- Compare figures within one commit only: machines of one name differ in speed by a factor of two to three.

## Goals

{goals(sources, by_size("peers"))}

## Whole runs

Cells: CPU-s / seconds / peak MB. A run is one process that builds and tests as `make build` does, with one dbt thread;
DuckDB uses all cores. The first build lacks the newest month. A model is due in the month after that one only
(`retrain_every_months: 2`). `make build` ends at once if no file has changed. `x scan`: CPU of the first build as a
multiple of a full scan of all columns and months. DuckDB's memory limit is 3 GB, for a million users 2 GB. Command:
`python bench/whole_runs.py 4 20` (millions of actions). The rows of commits 9928cb2 and 4b60ad5 are older: two dbt
threads, without data tests.

{whole_runs(sources)}

Nodes with the most CPU-s. `dbt itself`: start, parsing, hooks and scheduling.

{by_node}

## Storage

Largest tables of the warehouse after the new month, {shown[-1]["n_actions"]:,} actions. A user-month is a row of
`user_stage_months`. `python bench/whole_runs.py`.

{tables(shown[-1])}

## Scoring

One month of {results("scoring_cost")["figures"]["n_actions"]:,} actions. `python bench/scoring_cost.py`.

{scoring()}

## Peers

Features and log-likelihood of one month from the same four Parquet files, with equal sums asserted.
Cells: CPU-s / seconds / peak MB. Command: `python bench/peers.py 4 20`, millions of actions.

{peers(by_size("peers"))}

## Versions

{versions()}
"""


def write() -> None:
    """Write the page, and the table in README."""
    (DOCS / "performance.md").write_text(page())
    readme = DOCS.with_name("README.md")
    text, n_tables = README_TABLE.subn(rf"\g<1>{scale(by_size('whole_runs'))}\n\n", readme.read_text(), count=1)
    assert n_tables == 1, "README has no table in its section Scale"
    readme.write_text(text)


if __name__ == "__main__":
    assert RESULTS.exists(), "measure first: make bench"
    write()
