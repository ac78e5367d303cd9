"""Generator of docs/performance.md, its picture and the table in README's section Scale, from bench/results.

python bench/performance_page.py
"""

import re
from itertools import pairwise
from math import log2

import altair as alt
import numpy as np
import pandas as pd
from measuring import RESULTS
from results_page import DOCS, markdown, number, picture, results, wrapped

from life_stage import charts

KINDS = {
    "scan": "full scan, all columns",
    "count": "count by user and month",
    "first build": "first build, all months but the newest",
    "one new month": "one new month",
    "nothing new": "no new data",
}
RUNS = ("first build", "one new month", "nothing new")
STEPS = {  # folder of models: step
    "life_stage/training": "training",
    "life_stage/filtering": "filter updates",
    "life_stage/evaluation": "evaluation",
    "life_stage/marts": "life-stage marts",
    "life_stage/features": "life-stage features",
    "checkout/ranking": "checkout ranking",
    "checkout/features": "checkout features",
    "checkout/evaluation": "checkout evaluation",
    "staging": "staging",
}
PEERS = {
    "project": "project SQL",
    "duckdb_script": "DuckDB script",
    "polars": "Polars, streaming",
    "pandas_merge": "pandas, same algorithm",
    "pandas_explode": "pandas, exploded features",
    "spark": "PySpark, local[2]",
}
SINGLE_STEPS = {
    "bare scan": "bare scan of the columns read",
    "features and log-likelihoods": "features and log-likelihood",
    "push-down": "the same, weights summed per item first",
    "fit": "regression fit",
    "tune": "end-to-end fine-tuning",
    "23 months from nothing": "filter updates, 23 months",
    "one new month": "filter updates, one new month",
    "nothing new": "filter updates, no new data",
}
README_TABLE = re.compile(r"(## Scale\n.*?\n\n)\|.*?\n\n", flags=re.S)
SINGLE_RESULTS = ("scoring_cost", "filter_cost", "row_sizes", "simulator", "training_cost")
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
    return f"{figures['cpu_s']:,.0f} / {figures['wall_s']:,.0f} / {megabytes(figures):,.0f}"


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
                *(in_a_cell(middle(of_kind)) for of_kind in runs),
                f"{figures['ratio_to_scan']['first build']:.0f}",
                ", ".join(str(len(of_kind)) for of_kind in runs),
                figures["commit"],
            ]
        )
    kinds = [KINDS[kind].split(",")[0] for kind in RUNS]
    return markdown(["actions", "users", "months", *kinds, "x scan", "runs", "commit"], rows)


def of_like_users(sources: list[dict]) -> list[dict]:
    """Those that differ in the number of users alone: neither a short history nor a million who do little."""
    return [figures for figures in sources if figures["months"] == 24 and figures["n_users"] < 1e6]


def per_doubling(sources: list[dict], kind: str) -> dict[tuple[int, int], float]:
    """{(fewer actions, more): times the CPU that twice the actions and users cost}, compared within a commit."""
    found = {}
    for smaller, larger in pairwise(of_like_users(sources)):
        if smaller["commit"] == larger["commit"]:
            fewer, more = smaller["n_actions"], larger["n_actions"]
            less, most = (middle(figures["runs"][kind])["cpu_s"] for figures in (smaller, larger))
            found[fewer, more] = (most / less) ** (1 / log2(more / fewer))
    return found


def twice_the_history(sources: list[dict]) -> dict[str, tuple[float, float]]:
    """{actions: times the CPU of a new month with 24 months of history instead of 12; without training and evaluation}.

    The second are the models' seconds. Compared within a commit.
    """
    sizes = {(figures["n_users"], figures["commit"], figures["months"]): figures for figures in sources}
    found = {}
    for (users, commit, months), figures in sizes.items():
        if months == 24 and (shorter := sizes.get((users, commit, 12))):
            both = [of["runs"]["one new month"] for of in (figures, shorter)]
            cpu = [middle(runs)["cpu_s"] for runs in both]
            others = [seconds(runs).drop(["life_stage/training", "life_stage/evaluation"]).sum() for runs in both]
            found[f"{figures['n_actions']:,}"] = cpu[0] / cpu[1], others[0] / others[1]
    return found


def growth(sources: list[dict]) -> str:
    """CPU for twice the actions, and for twice the history."""
    lines = []
    for kind in ("first build", "one new month"):
        for (fewer, more), factor in per_doubling(sources, kind).items():
            lines.append(f"- {kind}, per doubling of actions and users ({fewer:,} to {more:,} actions): {factor:.2f} x")
    for n_actions, (cpu, others) in twice_the_history(sources).items():
        lines.append(f"- one new month, 24 instead of 12 months of history ({n_actions} actions): {cpu:.2f} x,")
        lines.append(f"  {others:.2f} x in seconds of models without training and evaluation")
    return "\n".join(lines)


def goals(sources: list[dict], sizes: list[dict]) -> str:
    """Goals and figures; those without a figure were not measured."""
    few, many, largest = sizes[0]["ratio_to_project"], sizes[-1]["ratio_to_project"], sources[-1]
    n_few, n_many = (f"{of['n_actions'] / 1e6:.0f} million actions" for of in (sizes[0], sizes[-1]))
    first = f"first build, {largest['n_actions'] / 1e6:.0f} million actions"
    wanted = [
        ("features and log-likelihood of a month, x bare scan", "at most", 100, evidence_ratio()),
        (f"the same, {n_few}, x Polars", "at most", 1.15, 1 / few.get("polars", np.nan)),
        (f"pandas, {n_few}, x project", "at least", 2, few.get("pandas_merge", np.nan)),
        (f"pandas with exploded features, {n_few}, x project", "at least", 5, few.get("pandas_explode", np.nan)),
        (f"PySpark, {n_many}, x project", "at least", 4, many.get("spark", np.nan)),
        (f"{first}, GB", "at most", 4, megabytes(middle(largest["runs"]["first build"])) / 1e3),
        (f"{first}, x full scan", "at most", 200, largest["ratio_to_scan"]["first build"]),
        *(
            ("one new month, 24 instead of 12 months of history, ratio", "at most", 1.25, cpu)
            for cpu, _ in twice_the_history(sources).values()
        ),
        *(
            ("first build, per doubling of actions and users, ratio", "at most", 2.1, factor)
            for factor in per_doubling(sources, "first build").values()
        ),
    ]
    rows = []
    for name, bound, goal, found in wanted:
        is_missed = found > goal if bound == "at most" else found < goal
        rows.append([name, f"{bound} {goal:g}", number(found, 0 if found > 100 else 2), "missed" if is_missed else ""])
    return markdown(["CPU or memory", "goal", "measured", ""], rows)


def evidence_ratio() -> float:
    """CPU of features and log-likelihood, as a multiple of a bare scan of their columns."""
    return results("scoring_cost")["figures"]["ratio_to_bare_scan"]["features and log-likelihoods"]


def scale(sources: list[dict]) -> str:
    """README's table: wall time and memory of runs with 24 months."""
    shown = [figures for figures in sources if figures["months"] == 24]
    middles = [{kind: middle(runs) for kind, runs in figures["runs"].items()} for figures in shown]
    header = [f"{figures['n_actions'] / 1e6:,.0f} million actions, {figures['n_users']:,} users" for figures in shown]
    rows = [
        [KINDS[kind].split(",")[0], *(duration(of[kind]["wall_s"]) if kind in of else "" for of in middles)]
        for kind in RUNS
    ]
    most = [max(megabytes(of[kind]) for kind in RUNS if kind in of) for of in middles]
    rows.append(["peak memory", *(f"{mb / 1e3:.1f} GB" for mb in most)])
    rows.append(["measured first builds", *(str(len(figures["runs"]["first build"])) for figures in shown)])
    return markdown(["", *header], rows)


def duration(of_seconds: float) -> str:
    """In minutes and seconds, from ten minutes on in minutes."""
    minutes, rest = divmod(round(of_seconds), 60)
    if minutes >= 10:
        return f"{of_seconds / 60:.0f} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def row_sizes() -> str:
    """Parquet size of a row, and of a month of 10^9 users."""
    tables = results("row_sizes")["figures"]["tables"]
    times = 1e9 / tables["birth_month_filter"]["rows"]  # a row per user
    rows = []
    for table, of in tables.items():
        n_rows, size = of["rows"], of["bytes_a_row"]
        rows.append([f"`{table}`", f"{n_rows:,}", f"{size:.1f}", f"{n_rows * times * size / 1e9:,.0f}"])
    return markdown(["table", "rows of the fullest month", "bytes per row", "GB for 10^9 users"], rows)


def seconds(runs: list[dict]) -> pd.Series:
    """Median seconds of the models of each folder."""
    return pd.DataFrame([run["steps"] for run in runs]).median().rename({"": "seeds"})


def steps(figures: dict) -> str:
    """Seconds by step of the pipeline; steps of a few seconds are summed up."""
    table = pd.DataFrame({kind: seconds(figures["runs"][kind]) for kind in RUNS}).fillna(0)
    table = table.groupby(table.index.map(lambda folder: STEPS.get(folder, "others"))).sum()
    table = table.loc[table.max(axis=1).sort_values(ascending=False).index]
    rows = [[step, *(f"{value:,.0f}" for value in row)] for step, row in table.iterrows()]
    return markdown(["step", *(KINDS[kind].split(",")[0] for kind in RUNS)], rows)


def single_steps() -> str:
    """Single steps alone: scoring of a month, training, filter updates."""
    log_likelihood, training, fold = (
        results(name)["figures"] for name in ("scoring_cost", "training_cost", "filter_cost")
    )
    rows = [
        [f"{SINGLE_STEPS[step]}, {log_likelihood['n_actions']:,} actions", *printed(middle(runs)), str(len(runs))]
        for step, runs in log_likelihood["runs"].items()
    ]
    for step, figures in training.items():
        n_rows, n_features = figures["shape"]
        cpu, wall, _ = printed(figures)  # its peak is that of making the data
        rows.append([f"{SINGLE_STEPS[step]}, {n_rows:,} user-months x {n_features:,} features", cpu, wall, "", "1"])
    for step, figures in fold["runs"].items():
        rows.append([f"{SINGLE_STEPS[step]}, {fold['n_users']:,} users", *printed(figures), "1"])
    return markdown(["step", "CPU-s", "seconds", "peak MB", "runs"], rows)


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
    names = [name for name in kept if name in SINGLE_RESULTS or name.startswith(("whole_runs", "peers"))]
    rows: dict[tuple[str, str], list[str]] = {}
    for name in names:
        rows.setdefault((kept[name]["commit"], kept[name]["machine"]), []).append(f"`{name}`")
    packages = {f"{package} {of}" for name in names for package, of in kept[name]["versions"].items()}
    pythons = {f"Python {kept[name]['python']}" for name in names}
    table = markdown(["benchmark", "commit", "machine"], ([", ".join(of), *where] for where, of in rows.items()))
    return f"{table}\n\n{wrapped(', '.join([*sorted(pythons), *sorted(packages)]))}"


def simulator(kept: dict) -> str:
    """Throughput of the simulator."""
    figures = kept["figures"]
    cpu = middle(figures["runs"])["cpu_s"]
    return wrapped(
        f"{figures['n_actions']:,} actions of {figures['n_users']:,} users in {figures['months']} months take "
        f"{cpu:.1f} CPU-seconds, {figures['n_actions'] / cpu:,.0f} actions per CPU-second, files written "
        "(`python bench/whole_runs.py`, first size)."
    )


def costs(sources: list[dict]) -> alt.Chart:
    """CPU by number of actions, both on a log scale."""
    rows = [
        {"actions": figures["n_actions"], "CPU seconds": middle(runs)["cpu_s"], "run": KINDS[kind]}
        for figures in of_like_users(sources)
        for kind, runs in figures["runs"].items()
        if kind in KINDS
    ]
    colour = alt.Color("run:N", title=None, legend=alt.Legend(orient="bottom", columns=2))
    colour = colour.scale(domain=list(KINDS.values()), range=charts.COLOURS)
    return (
        alt.Chart(pd.DataFrame(rows), width=520, height=280)
        .mark_line(point=True)
        .encode(
            x=alt.X("actions:Q").scale(type="log", nice=False).axis(format="~s"),
            y=alt.Y("CPU seconds:Q").scale(type="log"),
            color=colour,
        )
    )


def page() -> str:
    """The document."""
    sources = by_size("whole_runs")
    largest = sources[-1]
    return f"""\
# Performance

CPU time, wall time and peak memory of runs and steps on simulated data: medians of repeated runs.
`make bench` repeats the measurements, `python bench/performance_page.py` writes this page.

- Raw figures: [bench/results](../bench/results).
- Ratios are medians over rounds and differ from quotients of the columns.
- Runs and peers are whole processes. Scans and single steps exclude the start of Python.
- Compare figures within one commit only: machines of one name differ in speed by a factor of two to three.

## Goals

{goals(sources, by_size("peers"))}

## Whole runs

Cells: CPU-s / seconds / peak MB of `dbt build` without data tests on two threads. `x scan`: CPU of the first build
as a multiple of a full scan of all columns and months. The first build lacks the newest month.
DuckDB's memory limit is 3 GB, for a million users 2 GB. Command: `python bench/whole_runs.py 4 20` (millions).

![CPU seconds by number of actions]({picture("cost_of_runs", costs(sources))})

{whole_runs(sources)}

CPU growth:

{growth(sources)}

Seconds by step, {largest["n_actions"]:,} actions, two models at a time:

{steps(largest)}

## Single steps

`python bench/scoring_cost.py`, `training_cost.py`, `filter_cost.py`.

{single_steps()}

## Peers

Features and log-likelihood of one month from the same four Parquet files, with equal sums asserted.
Cells: CPU-s / seconds / peak MB. Command: `python bench/peers.py 4 20`, millions of actions.

{peers(by_size("peers"))}

## Row sizes

Parquet files of 5,000 simulated users over 24 months; the last column extrapolates. `python bench/row_sizes.py`.

{row_sizes()}

## Simulator

{simulator(results("simulator"))}

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
