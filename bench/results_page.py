"""docs/results.md and its pictures, from bench/results alone: nothing on the page is typed by hand.

python bench/results_page.py
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
from measuring import PROJECT, RESULTS

from life_stage import charts

DOCS = PROJECT / "docs"
NAMES = {
    "prior": "prior: the stage shares",
    "memory_less": "memory-less regression",
    "carry_last": "its last answer, carried on",
    "rolling_6_months": "one regression on six months at once",
    "dynamic_fusion_cold": "dynamic fusion, six months (the published method, our reading)",
    "dynamic_fusion": "dynamic fusion, 24 months",
    "birth_month_filter_cold": "birth-month filter, six months",
    "birth_month_filter": "birth-month filter, 24 months (the default)",
    "attainable": "attainable: the simulator's true likelihoods",
}
ANSWERING = [method for method in NAMES if method not in ("prior", "attainable")]
STAGES = ["pregnancy", "newborn", "infant", "toddler", "nursery", "kindergarten"]
DEFAULT, PUBLISHED = "birth_month_filter", "dynamic_fusion_cold"


class Measured:
    """The figures of all seeds: means, and standard errors of the means over users."""

    def __init__(self, experiment: dict) -> None:
        self.facts = {name: experiment[name] for name in ("commit", "python", "machine", "versions")}
        self.seeds = experiment["figures"]["seeds"]

    def table(self, name: str, keys: list[str]) -> pd.DataFrame:
        """Mean over the seeds by key; columns ending in _error: of the mean, the seeds being different people."""
        frames = [pd.DataFrame(**seed[name]) for seed in self.seeds]
        groups = pd.concat(frames, ignore_index=True).infer_objects().groupby(keys, sort=False)
        found = groups.mean(numeric_only=True)
        for column in (c for c in found if c.endswith("_error") and c != "calibration_error"):
            squares = groups[column].apply(lambda errors: np.square(errors.astype(float)).sum(skipna=False))
            found[column] = np.sqrt(squares) / groups.size()
        return found.sort_index() if len(keys) > 1 else found

    def ranking_agrees(self) -> bool:
        """Whether every seed puts the methods into the same order of accuracy."""
        orders = set()
        for seed in self.seeds:
            rows = pd.DataFrame(**seed["accuracy"])
            rows = rows[(rows["period"] == "all") & (rows["cohort"] == "all")]
            orders.add(tuple(rows.sort_values("accuracy")["method"]))
        return len(orders) == 1


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table."""
    lines = [list(header), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(value: float, error: float | None = None) -> str:
    """A share in percent, with its standard error."""
    if pd.isna(value):
        return ""
    return f"{100 * value:.1f}" + ("" if error is None or pd.isna(error) else f" ± {100 * error:.1f}")


def number(value: float, digits: int) -> str:
    """A number, or nothing where there is none."""
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def picture(name: str, chart: alt.Chart) -> str:
    """Write a chart as SVG; returns where it lies."""
    folder = DOCS / "pictures"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.svg").write_text(charts.svg(chart))
    return f"pictures/{name}.svg"


def methods(measured: Measured) -> str:
    """Every method over the whole window."""
    rows = measured.table("accuracy", ["period", "cohort", "method"]).loc[("all", "all")]
    rows = rows.reindex([method for method in NAMES if method in rows.index])
    return markdown(
        [
            "who answers",
            "accuracy, %",
            "macro recall, %",
            "log-loss",
            "calibration error",
            "age off by, months",
            "had an answer, %",
        ],
        (
            [
                NAMES[method],
                percent(row["accuracy"], row["accuracy_error"]),
                percent(row["macro_recall"], row.get("macro_recall_error")),
                number(row["log_loss"], 3) + f" ± {row['log_loss_error']:.3f}",
                number(row.get("calibration_error"), 3),
                number(row.get("age_error_months"), 1),
                percent(row.get("coverage")),
            ]
            for method, row in rows.iterrows()
        ),
    )


def gap_closed(measured: Measured) -> str:
    """How much of the way from the memory-less regression to the attainable the default goes."""
    rows = measured.table("accuracy", ["period", "cohort", "method"]).loc[("all", "all")]
    base, ours, best = (rows.loc[method] for method in ("memory_less", DEFAULT, "attainable"))
    share = (ours["accuracy"] - base["accuracy"]) / (best["accuracy"] - base["accuracy"])
    return (
        f"The default closes {100 * share:.0f} % of the gap in accuracy between the memory-less regression and what is attainable; "
        f"it stays {100 * (best['accuracy'] - ours['accuracy']):.1f} points and {ours['log_loss'] - best['log_loss']:.3f} of "
        "log-loss short of it."
    )


def replication(measured: Measured) -> str:
    """Memory-less against dynamic fusion, month by month, in the published protocol; the default beside it."""
    accuracy = measured.table("accuracy", ["cohort", "period", "method"]).loc["all"]
    gain = measured.table("gain", ["cohort", "period", "method"]).loc["all"]
    rows = []
    for period in sorted(period for period in accuracy.index.unique("period") if period != "all"):
        base, published = accuracy.loc[(period, "memory_less")], accuracy.loc[(period, PUBLISHED)]
        ours, more = gain.loc[(period, PUBLISHED)], gain.loc[(period, DEFAULT)]
        rows.append(
            [
                period,
                percent(base["accuracy"], base["accuracy_error"]),
                percent(published["accuracy"], published["accuracy_error"]),
                f"{percent(ours['accuracy_gain'], ours['accuracy_gain_error'])} (+{percent(ours['relative_accuracy_gain'])} %)",
                f"{percent(ours['recall_gain'], ours['recall_gain_error'])} (+{percent(ours['relative_recall_gain'])} %)",
                percent(more["accuracy_gain"], more["accuracy_gain_error"]),
                percent(more["recall_gain"], more["recall_gain_error"]),
            ]
        )
    header = [
        "month",
        "memory-less, accuracy %",
        "dynamic fusion, accuracy %",
        "gain in points (relative)",
        "gain in macro recall (relative)",
        "the default's gain",
        "the default's gain in macro recall",
    ]
    return markdown(header, rows)


def cohorts(measured: Measured) -> str:
    """Groups of user-months: how each method does, the best one marked."""
    rows = measured.table("accuracy", ["period", "cohort", "method"]).loc["all"]
    lines = [
        [cohort, f"{rows.loc[cohort]['n_user_months'].max():,.0f}", *best_marked(rows.loc[cohort]["accuracy"])]
        for cohort in rows.index.unique("cohort")
    ]
    return markdown(["user-months", "number", *(NAMES[method].split(" (")[0] for method in ANSWERING)], lines)


def best_marked(accuracies: pd.Series) -> list[str]:
    """The accuracies of the methods that are compared, the best one marked."""
    of_methods = accuracies.reindex(ANSWERING)
    best = of_methods.idxmax()
    return [f"**{percent(value)}**" if method == best else percent(value) for method, value in of_methods.items()]


def few_labels(ablation: dict) -> str:
    """How the methods do with fewer users to learn from."""
    lines = [
        [n_users, *best_marked(pd.DataFrame(of_methods).loc["accuracy"])]
        for n_users, of_methods in ablation["figures"]["few labels"].items()
    ]
    return markdown(["training users", *(NAMES[method].split(" (")[0] for method in ANSWERING)], lines)


def losses_to_simpler(measured: Measured) -> str:
    """Where the default is not the best, in words."""
    rows = measured.table("accuracy", ["period", "cohort", "method"])["accuracy"]
    rows = rows[rows.index.get_level_values("method") != "attainable"]
    beaten = []
    for (period, cohort), group in rows.groupby(level=["period", "cohort"]):
        best = group.idxmax()[2]
        if best != DEFAULT:
            beaten.append(
                f"{cohort} ({period}): {NAMES[best].split(' (')[0]}, by {100 * (group.max() - group[period, cohort, DEFAULT]):.1f} points"
            )
    if not beaten:
        return "In none of these groups and in no month is a simpler method ahead of the default."
    return "A simpler method is ahead of the default here: " + "; ".join(beaten) + "."


def shares(measured: Measured) -> str:
    """The stages of those learned from and of those judged."""
    counts = measured.table("shares", ["part", "stage"])["n_user_months"].unstack("part").reindex(STAGES)
    users = measured.table("users", ["part"])["n_users"]
    of_parts = counts / counts.sum()
    return markdown(
        ["stage", *(f"{part}, {users[part]:,.0f} users, %" for part in of_parts)],
        ([stage, *(percent(value) for value in row)] for stage, row in of_parts.iterrows()),
    )


def recalls(measured: Measured) -> str:
    """Recall of each stage."""
    rows = measured.table("recall", ["period", "method", "stage"]).loc["all"]
    shown = ["memory_less", PUBLISHED, DEFAULT]
    return markdown(
        ["stage", *(NAMES[method].split(" (")[0] for method in shown), "precision of the default"],
        (
            [
                stage,
                *(percent(rows.loc[(m, stage), "recall"], rows.loc[(m, stage), "recall_error"]) for m in shown),
                percent(rows.loc[(DEFAULT, stage), "precision_share"]),
            ]
            for stage in STAGES
        ),
    )


def confusion(measured: Measured) -> str:
    """What the default took each stage for."""
    rows = measured.table("confusion", ["method", "true_stage", "predicted_stage"]).loc[DEFAULT]["share"].unstack()
    rows = rows.reindex(index=STAGES, columns=STAGES).fillna(0)
    return markdown(
        ["is \\ told as", *STAGES], ([stage, *(percent(value) for value in row)] for stage, row in rows.iterrows())
    )


def second_children(measured: Measured) -> str:
    """The curve of second children."""
    names = [name for name in measured.seeds[0]["second children"] if name.endswith(": F1")]
    mean = {name: np.mean([seed["second children"][name] for seed in measured.seeds]) for name in names}
    return markdown([name.removesuffix(": F1") for name in names], [[f"{mean[name]:.3f}" for name in names]])


def pictures(measured: Measured) -> dict[str, str]:
    """The page's pictures, by name."""
    accuracy = measured.table("accuracy", ["cohort", "period", "method"]).loc["all"].reset_index()
    by_month = charts.methods_by_month(accuracy[accuracy["period"] != "all"], "accuracy", "accuracy")
    bins = measured.table("calibration", ["method", "probability_bin"]).reset_index()
    return {
        "accuracy": picture("accuracy_by_month", by_month),
        "calibration": picture("calibration", charts.calibration(bins)),
    }


def page(measured: Measured, ablation: dict | None) -> str:
    """The whole page."""
    coverage = [seed["birth months within their interval"] for seed in measured.seeds]
    shown, facts = pictures(measured), measured.facts
    agree = (
        "All seeds rank the methods alike." if measured.ranking_agrees() else "The seeds do not rank all methods alike."
    )
    sections: list[tuple[str, Callable[[Measured], str] | str]] = [
        (
            "# Results",
            "Written by `make experiment` from the project's evaluation tables; do not edit. All shoppers are simulated. Three "
            "seeds of 14,000 users and 24 months through February 2017; half of the users train, 15 % calibrate, the rest are judged if they "
            "registered exactly one child. The models know nothing after August 2016; judged are September to February, every month of a "
            "user from the first on, quiet ones included. The truth is what was registered; 4 % of it is wrong. Behind ± stands one standard "
            "error over users, a 95 % interval is twice that to either side. " + agree,
        ),
        ("## The methods", methods),
        ("", gap_closed),
        ("", f"![Accuracy by month]({shown['accuracy']})"),
        (
            "## The published experiment, in its protocol",
            "Six months, history from September on: dynamic fusion starts cold and reads each month and the same month last year. The published "
            "gains over the memory-less baseline are up to 15 % in accuracy and up to 21.76 % in recall, most in months with sparse behaviour. Ours:",
        ),
        ("", replication),
        (
            "",
            "What can be compared: whether fusing helps, and most in the sparse month (February, when hardly anybody shops). In the first month there "
            "is nothing to fuse. What cannot be compared: the sizes of the gains. The published data, tables and equations are not public, whether its percentages are absolute or "
            "relative is not said, and these shoppers are simulated.",
        ),
        ("Stages of the user-months learned from and judged:", shares),
        ("## Where it is won, and where not", cohorts),
        ("", losses_to_simpler),
        ("## Stage by stage", recalls),
        ("What the default takes each stage for, in % of the stage:", confusion),
        ("## Calibration", f"![Probabilities against how often they are right]({shown['calibration']})"),
        (
            "",
            f"The 80 % interval of the birth month holds the registered one in {percent(min(coverage))} to {percent(max(coverage))} % of the judged "
            "user-months, a seed at a time.",
        ),
        (
            "## Second children",
            "F1 of the set of stages told against the set registered, in months of families with two children in different stages; by the "
            "share of single children's months that the threshold lets have a false second child:",
        ),
        ("", second_children),
    ]
    if ablation:
        sections += [
            (
                "## What each part is worth",
                "One seed (`make ablation`): the default with one thing changed, in points of accuracy and in log-loss against it; "
                "± one standard error of the paired difference over users.",
            ),
            ("", lambda _: ablations(ablation)),
            (
                "## With few labels",
                "The same seed and test users; models learned from so many users with one registered child and calibrated on three in ten of that "
                "many, all else as it comes. Accuracy in %, the best marked.",
            ),
            ("", lambda _: few_labels(ablation)),
        ]
    sections.append(("## Made with", made_with(facts)))
    parts = []
    for title, content in sections:
        parts += [text for text in (title, content if isinstance(content, str) else content(measured)) if text]
    return "\n\n".join(parts) + "\n"


def ablations(ablation: dict) -> str:
    """The table of the ablations."""
    return markdown(
        ["changed", "accuracy, points", "log-loss"],
        (
            [
                name,
                f"{100 * row['accuracy']:+.1f} ± {100 * row['accuracy_error']:.1f}",
                f"{row['log_loss']:+.3f} ± {row['log_loss_error']:.3f}",
            ]
            for name, row in ablation["figures"]["changes"].items()
        ),
    )


def made_with(facts: dict) -> str:
    """Commit, machine and versions of kept figures."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"Commit {facts['commit']}, Python {facts['python']}, {facts['machine']}, {versions}"


def results(name: str) -> dict | None:
    """The kept figures of a benchmark; None: it never ran."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def write(to: Path = DOCS / "results.md") -> None:
    """Write the page."""
    to.write_text(page(Measured(results("experiment")), results("ablation")))


if __name__ == "__main__":
    write()
