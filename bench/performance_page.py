"""docs/performance.md, its picture and the table of README's Scale, from bench/results alone.

python bench/performance_page.py
"""

from collections.abc import Iterable
from itertools import pairwise
from math import log2

import altair as alt
import numpy as np
import pandas as pd
from measuring import RESULTS
from results_page import DOCS, made_with, markdown, number, picture, results

from life_stage import charts

KINDS = {
    "scan": "every value of every column read",
    "count": "actions counted by user and month",
    "first build": "first build, all months but the newest",
    "one new month": "one new month",
    "nothing new": "nothing new",
    "dbt alone": "start, hooks and one seed",
}
PEERS = {
    "project": "this project's SQL",
    "duckdb_script": "a DuckDB script by hand",
    "polars": "Polars, streaming",
    "pandas_merge": "pandas, the same algorithm",
    "pandas_explode": "pandas, features exploded",
    "spark": "PySpark, local[2]",
}
BEFORE_SCALE = "(the first build lacks the newest month):\n\n"  # in README
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


def by_size(name: str) -> list[dict]:
    """The kept figures of a benchmark, a dictionary per size with its commit, the fewest actions first."""
    kept = [results(file.stem) for file in RESULTS.glob(f"{name}_*.json")]
    found = [one["figures"] | {"commit": one["commit"], "made_with": f"{made_with(one)}."} for one in kept]
    return sorted(found, key=lambda figures: figures["n_actions"])


def each_once(sentences: Iterable[str]) -> str:
    """One a line."""
    return "\n".join(dict.fromkeys(sentences))


def whole_runs(sources: list[dict]) -> str:
    """Every kind of run on every source."""
    rows = []
    for figures in sources:
        for kind, runs in figures["runs"].items():
            holds = [f"{figures['n_actions']:,}", f"{figures['n_users']:,}", str(figures["months"])]
            times = f"{figures['ratio_to_scan'][kind]:.1f}" if kind in ("count", "first build") else ""
            rows.append([*holds, KINDS[kind], *printed(middle(runs)), times, str(len(runs)), figures["commit"]])
    header = ["actions", "users", "months", "what", "CPU-s", "seconds", "peak MB", "x the reading's CPU", "runs"]
    return markdown([*header, "commit"], rows)


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
    """{actions: times the CPU of a new month with 24 months of history instead of 12; without learning and judging}.

    The second are the models' seconds. Compared within a commit.
    """
    sizes = {(figures["n_users"], figures["commit"], figures["months"]): figures for figures in sources}
    found = {}
    for (users, commit, months), figures in sizes.items():
        if months == 24 and (shorter := sizes.get((users, commit, 12))):
            both = [of["runs"]["one new month"] for of in (figures, shorter)]
            cpu = [middle(runs)["cpu_s"] for runs in both]
            others = [seconds(runs).drop(["life_stage/learning", "life_stage/evaluation"]).sum() for runs in both]
            found[f"{figures['n_actions']:,}"] = cpu[0] / cpu[1], others[0] / others[1]
    return found


def growth(sources: list[dict]) -> str:
    """What twice the actions, and twice the history, cost."""
    said = []
    for kind in ("first build", "one new month"):
        for (fewer, more), factor in per_doubling(sources, kind).items():
            doubled = f"From {fewer:,} to {more:,} actions, per doubling of actions and users"
            said.append(f"{doubled}: {kind} {factor:.2f} x the CPU.")
    for n_actions, (cpu, others) in twice_the_history(sources).items():
        longer = f"With 24 months of history ({n_actions} actions) a new month costs {cpu:.2f} x that with 12"
        said.append(f"{longer}; without learning and evaluation the models' seconds are {others:.2f} times as many.")
    return "\n".join(f"- {sentence}" for sentence in said)


def goals(sources: list[dict], sizes: list[dict]) -> str:
    """What was wanted, what came of it, and what was missed; empty where it was not measured."""
    few, many, largest = sizes[0]["ratio_to_project"], sizes[-1]["ratio_to_project"], sources[-1]
    n_few, n_many = (f"{of['n_actions']:,} actions" for of in (sizes[0], sizes[-1]))
    first = f"first build of {largest['n_actions']:,} actions"
    wanted = [
        ("features and evidence of a month, x the bare scan", "at most", 100, evidence_ratio()),
        (f"the same of {n_few}, x what Polars takes", "at most", 1.15, 1 / few.get("polars", np.nan)),
        (f"pandas on {n_few}, x the project", "at least", 2, few.get("pandas_merge", np.nan)),
        (f"pandas exploding features of {n_few}, x the project", "at least", 5, few.get("pandas_explode", np.nan)),
        (f"PySpark on {n_many}, x the project", "at least", 4, many.get("spark", np.nan)),
        (f"{first}, GB", "at most", 4, megabytes(middle(largest["runs"]["first build"])) / 1e3),
        (f"{first}, x the reading", "at most", 200, largest["ratio_to_scan"]["first build"]),
        *(
            (f"a new month with 24 months of history ({n_actions} actions), x with 12", "at most", 1.25, cpu)
            for n_actions, (cpu, _) in twice_the_history(sources).items()
        ),
        *(
            (f"first build per doubling, {fewer:,} to {more:,} actions, x", "at most", 2.1, factor)
            for (fewer, more), factor in per_doubling(sources, "first build").items()
        ),
    ]
    rows = []
    for what, bound, goal, found in wanted:
        is_missed = found > goal if bound == "at most" else found < goal
        rows.append([what, f"{bound} {goal:g}", number(found, 0 if found > 100 else 2), "missed" if is_missed else ""])
    return markdown(["what", "goal", "measured", ""], rows)


def evidence_ratio() -> float:
    """Features and evidence against a bare scan of their columns."""
    return results("evidence_cost")["figures"]["ratio_to_bare_scan"]["features and evidence"]


def scale(sources: list[dict]) -> str:
    """README's table: what runs of 24 months take."""
    shown = [figures for figures in sources if figures["months"] == 24]
    kinds = ("first build", "one new month", "nothing new")
    middles = [{kind: middle(runs) for kind, runs in figures["runs"].items()} for figures in shown]
    header = [f"{figures['n_actions'] / 1e6:,.0f} million actions, {figures['n_users']:,} users" for figures in shown]
    rows = [[kind, *(duration(of[kind]["wall_s"]) if kind in of else "" for of in middles)] for kind in kinds]
    most = [max(megabytes(of[kind]) for kind in kinds if kind in of) for of in middles]
    rows.append(["most memory", *(f"{mb / 1e3:.1f} GB" for mb in most)])
    rows.append(["first builds measured", *(str(len(figures["runs"]["first build"])) for figures in shown)])
    return markdown(["", *header], rows)


def duration(of_seconds: float) -> str:
    """In minutes and seconds, from ten minutes on in minutes."""
    minutes, rest = divmod(round(of_seconds), 60)
    if minutes >= 10:
        return f"{of_seconds / 60:.0f} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def row_sizes() -> str:
    """What rows take as files."""
    tables = results("row_sizes")["figures"]["tables"]
    times = 1e9 / tables["birth_month_filter"]["rows"]  # a row for each user so far
    rows = []
    for table, of in tables.items():
        n_rows, size = of["rows"], of["bytes_a_row"]
        many = [f"{n_rows * times / 1e9:.2g}", f"{n_rows * times * size / 1e9:,.0f}"]
        rows.append([table, f"{n_rows:,}", f"{size:.1f}", *many])
    header = ["table", "rows of the fullest month", "bytes a row", "10^9 rows of 10^9 users", "GB of 10^9 users"]
    return markdown(header, rows)


def seconds(runs: list[dict]) -> pd.Series:
    """Medians of what the models of each folder took."""
    return pd.DataFrame([run["steps"] for run in runs]).median().rename({"": "seeds"})


def steps(sources: list[dict]) -> str:
    """Where a run's time goes, on the two largest sources."""
    parts = []
    for figures in sources[-2:]:
        kinds = [kind for kind in ("first build", "one new month", "nothing new") if kind in figures["runs"]]
        table = pd.DataFrame({kind: seconds(figures["runs"][kind]) for kind in kinds}).fillna(0)
        table = table.loc[table.max(axis=1).sort_values(ascending=False).index]
        rows = [[folder, *(f"{value:.1f}" for value in row)] for folder, row in table.iterrows()]
        said = f"{figures['n_actions']:,} actions, seconds of the models by folder; two run at a time:"
        parts.append(f"{said}\n\n{markdown(['folder', *kinds], rows)}")
    return "\n\n".join(parts)


def steps_alone() -> str:
    """What single steps cost, and the commits they were measured at."""
    evidence, training, fold = (results(name) for name in ("evidence_cost", "training_cost", "fold_cost"))
    n_actions, ratios = evidence["figures"]["n_actions"], evidence["figures"]["ratio_to_bare_scan"]
    rows = [
        [f"{what} of {n_actions:,} actions of a month", *printed(middle(runs)), f"{ratios[what]:.1f}", str(len(runs))]
        for what, runs in evidence["figures"]["runs"].items()
    ]
    for what, figures in training["figures"].items():
        n_rows, n_features = figures["shape"]
        named = {"fit": "the regression fitted", "tune": "trained through the filter"}[what]
        cpu, wall, _ = printed(figures)  # its peak is that of making the data
        rows.append([f"{named}: {n_rows:,} months, {n_features:,} features", cpu, wall, "", "", "1"])
    for what, figures in fold["figures"]["runs"].items():
        said = f"beliefs of {fold['figures']['n_users']:,} users carried: {what}"
        rows.append([said, *printed(figures), "", "1"])
    header = ["what", "CPU-s", "seconds", "peak MB", "x the bare scan's CPU", "runs"]
    return f"{markdown(header, rows)}\n\n{each_once(f'{made_with(kept)}.' for kept in (evidence, training, fold))}"


def peers(sizes: list[dict]) -> str:
    """The same features and evidence by others."""
    parts = []
    for figures in sizes:
        times = figures["ratio_to_project"]
        rows = [[PEERS[who], *printed(middle(runs)), f"{times[who]:.2f}"] for who, runs in figures["runs"].items()]
        n_runs = len(figures["runs"]["project"])
        header = ["who", "CPU-s", "seconds", "peak MB", "x the project's CPU"]
        said = f"{figures['n_actions']:,} actions of one month, {n_runs} runs in turn. {figures['made_with']}"
        parts.append(f"{said}\n\n{markdown(header, rows)}")
    return "\n\n".join(parts)


def simulator(kept: dict) -> str:
    """What simulated actions cost."""
    figures = kept["figures"]
    cpu = middle(figures["runs"])["cpu_s"]
    return (
        f"{figures['n_actions']:,} actions of {figures['n_users']:,} users in {figures['months']} months take"
        f" {cpu:.1f} CPU-seconds,\n{figures['n_actions'] / cpu:,.0f} actions a second of one processor, files"
        f" written (`python bench/whole_runs.py`, the first size).\n{made_with(kept)}."
    )


def costs(sources: list[dict]) -> alt.Chart:
    """CPU by actions, both in powers of ten; dbt alone is the same everywhere."""
    kinds = [kind for kind in KINDS if kind != "dbt alone"]
    rows = [
        {"actions": figures["n_actions"], "CPU seconds": middle(runs)["cpu_s"], "what": KINDS[kind]}
        for figures in of_like_users(sources)
        for kind, runs in figures["runs"].items()
        if kind in kinds
    ]
    colour = alt.Color("what:N", title=None, legend=alt.Legend(orient="bottom", columns=2))
    colour = colour.scale(domain=[KINDS[kind] for kind in kinds], range=charts.COLOURS)
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
    return f"""\
# What it costs

Medians of as many runs as are given, in turn, on simulated data; raw runs lie in [bench/results](../bench/results).
Ratios are medians over the rounds, so they differ from quotients of the columns. Whole runs and what others
take are whole processes; scans and single steps are timed without the start of Python. What was measured at different
commits is different code on different days, and virtual machines of one name differ in speed by two to three times:
compare within a commit. `python bench/performance_page.py` writes the page; `make bench` measures anew what takes less
than an hour each, with `QUICK=1` a million actions once.

## Goals

{goals(sources, by_size("peers"))}

## Whole runs

`python bench/whole_runs.py` takes sizes in millions of actions: `4 20` if none is named. `dbt build` without data tests
on two threads, DuckDB held to 3 GB, with a hundred million actions to 2 GB. The first build lacks the newest month,
which the reading has.
{each_once(figures["made_with"] for figures in sources)}

![CPU seconds by number of actions]({picture("cost_of_runs", costs(sources))})

{whole_runs(sources)}

{growth(sources)}

{steps(sources)}

## Steps alone

`python bench/evidence_cost.py`, `training_cost.py`, `fold_cost.py`; the bare scan is of the columns that features read.

{steps_alone()}

## Others on the same work

Features and evidence of one month from the same four Parquet files, equal sums asserted: `python bench/peers.py 4 20`,
millions of actions (4 if none are named).

{peers(by_size("peers"))}

## What rows take

As Parquet, of 5,000 simulated shoppers over 24 months; the last two columns multiply. `python bench/row_sizes.py`.
{made_with(results("row_sizes"))}.

{row_sizes()}

## The simulator

{simulator(results("simulator"))}
"""


def write() -> None:
    """Write the page, and the table into README."""
    (DOCS / "performance.md").write_text(page())
    readme = DOCS.with_name("README.md")
    before, rest = readme.read_text().split(BEFORE_SCALE)
    after = rest[rest.index("\n\n") :]
    readme.write_text(before + BEFORE_SCALE + scale(by_size("whole_runs")) + after)


if __name__ == "__main__":
    assert RESULTS.exists(), "measure first: make bench"
    write()
