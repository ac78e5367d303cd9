"""Generator of docs/results.md and its pictures, from the kept figures in bench/results.

python bench/results_page.py
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import fill

import altair as alt
import numpy as np
import pandas as pd
from measuring import PROJECT, RESULTS

from life_stage import charts

DOCS = PROJECT / "docs"
NAMES = {
    "prior": "prior (majority class)",
    "memory_less": "stateless baseline (this month and the same month last year)",
    "carry_last": "last observation carried forward",
    "rolling_6_months": "rolling window regression, 6 months",
    "dynamic_fusion_cold": "dynamic fusion, 6 months of history",
    "dynamic_fusion": "dynamic fusion, 24 months of history",
    "birth_month_filter_cold": "birth-month filter, 6 months",
    "birth_month_filter": "birth-month filter, 24 months (default)",
    "attainable": "upper bound (oracle)",
}
COMPARED = [method for method in NAMES if method not in ("prior", "attainable")]
IN_GROUPS = ["memory_less", "carry_last", "rolling_6_months", "dynamic_fusion", "birth_month_filter"]
CHANGES = {  # kept name: the name on the page
    "6 stages in place of 20 age bins": "6 stages instead of 20 age bins",
    "without prior correction: posteriors multiplied": "no prior correction (posteriors multiplied)",
    "events counted in place of days": "event counts instead of active days",
    "presence in place of days": "binary features instead of active days",
    "10% of the test users' months are somebody else's": "10% of test months from another user",
    "30% of the test users' months are somebody else's": "30% of test months from another user",
}
STAGES = ["pregnancy", "newborn", "infant", "toddler", "nursery", "kindergarten"]
DEFAULT, PUBLISHED = "birth_month_filter", "dynamic_fusion_cold"


class Measured:
    """Figures of all seeds: means, and standard errors of the means over users."""

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


def wrapped(text: str) -> str:
    """A paragraph in lines of at most 120 characters."""
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)


def name_of(method: str) -> str:
    """A method's name without what stands in parentheses."""
    return NAMES[method].split(" (")[0]


def column_of(method: str) -> str:
    """A method's name without its months of history, where a table has one variant of each method."""
    return name_of(method).split(", ")[0]


def percent(value: float, error: float | None = None) -> str:
    """A share in percent, with its standard error."""
    if pd.isna(value):
        return ""
    return f"{100 * value:.1f}" + ("" if error is None or pd.isna(error) else f" ± {100 * error:.1f}")


def number(value: float, digits: int) -> str:
    """A number, or nothing where there is none."""
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def picture(name: str, chart: alt.Chart) -> str:
    """Write a chart as SVG; returns its path."""
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
            "method",
            "accuracy, %",
            "macro recall, %",
            "log-loss",
            "ECE",
            "age MAE, months",
            "coverage, %",
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
    """Share of the accuracy gap between stateless baseline and upper bound that the default closes."""
    rows = measured.table("accuracy", ["period", "cohort", "method"]).loc[("all", "all")]
    base, ours, best = (rows.loc[method] for method in ("memory_less", DEFAULT, "attainable"))
    share = (ours["accuracy"] - base["accuracy"]) / (best["accuracy"] - base["accuracy"])
    accuracy, log_loss = 100 * (best["accuracy"] - ours["accuracy"]), ours["log_loss"] - best["log_loss"]
    return wrapped(
        f"The default closes {100 * share:.0f} % of the accuracy gap between stateless baseline and upper bound. "
        f"{accuracy:.1f} points of accuracy and {log_loss:.3f} of log-loss remain."
    )


def replication(measured: Measured) -> str:
    """Gain of dynamic fusion over the stateless baseline by month, in the published protocol; the default beside it."""
    accuracy = measured.table("accuracy", ["cohort", "period", "method"]).loc["all"]
    gain = measured.table("gain", ["cohort", "period", "method"]).loc["all"]
    rows = []
    for period in sorted(period for period in accuracy.index.unique("period") if period != "all"):
        base = accuracy.loc[(period, "memory_less")]
        fused, default = gain.loc[(period, PUBLISHED)], gain.loc[(period, DEFAULT)]
        rows.append(
            [
                period,
                percent(base["accuracy"], base["accuracy_error"]),
                f"{percent(fused['accuracy_gain'], fused['accuracy_gain_error'])}"
                f" ({percent(fused['relative_accuracy_gain'])} %)",
                f"{percent(fused['recall_gain'], fused['recall_gain_error'])}"
                f" ({percent(fused['relative_recall_gain'])} %)",
                percent(default["accuracy_gain"], default["accuracy_gain_error"]),
            ]
        )
    header = ["month", "baseline accuracy, %", "fusion: accuracy gain", "fusion: recall gain", "default: accuracy gain"]
    return markdown(header, rows)


def cohorts(measured: Measured) -> str:
    """Accuracy by group of user-months, the best method marked."""
    rows = measured.table("accuracy", ["period", "cohort", "method"]).loc["all"]
    lines = [
        [
            cohort.replace("empty", "inactive"),
            f"{rows.loc[cohort]['n_user_months'].max():,.0f}",
            *best_marked(rows.loc[cohort]["accuracy"]),
        ]
        for cohort in rows.index.unique("cohort")
        if cohort != "all"
    ]
    return markdown(["group", "user-months", *map(column_of, IN_GROUPS)], lines)


def best_marked(accuracies: pd.Series) -> list[str]:
    """Accuracies of the methods shown, those of the best method in bold."""
    best = accuracies.reindex(COMPARED).idxmax()
    shown = accuracies.reindex(IN_GROUPS)
    return [f"**{percent(value)}**" if method == best else percent(value) for method, value in shown.items()]


def few_labels(ablation: dict) -> str:
    """Accuracy by number of training users."""
    lines = [
        [n_users, *best_marked(pd.DataFrame(of_methods).loc["accuracy"])]
        for n_users, of_methods in ablation["figures"]["few labels"].items()
    ]
    return markdown(["training users", *map(column_of, IN_GROUPS)], lines)


def losses_to_simpler(measured: Measured) -> str:
    """Groups and months in which another method exceeds the default, one a line."""
    rows = measured.table("accuracy", ["period", "cohort", "method"])["accuracy"]
    rows = rows[rows.index.get_level_values("method") != "attainable"]
    beaten = []
    for (period, cohort), group in rows.groupby(level=["period", "cohort"]):
        best = group.idxmax()[2]
        if best != DEFAULT:
            ahead = 100 * (group.max() - group[period, cohort, DEFAULT])
            beaten.append(f"- {cohort} ({period}): {name_of(best)}, by {ahead:.1f} points")
    if not beaten:
        return "No simpler method exceeds the default's accuracy in any group or month."
    return "\n".join(["A simpler method exceeds the default's accuracy in:\n", *beaten])


def users(measured: Measured) -> str:
    """Numbers of users, and whether the seeds agree."""
    counts = measured.table("users", ["part"])["n_users"]
    agree = "rank all methods alike" if measured.ranking_agrees() else "do not rank all methods alike"
    return (
        f"- Users with one registered child, mean of the seeds: {counts['training']:,.0f} training,"
        f" {counts['test']:,.0f} test.\n- The seeds {agree}."
    )


def recalls(measured: Measured) -> str:
    """Recall of each stage, and its share of the test set."""
    rows = measured.table("recall", ["period", "method", "stage"]).loc["all"]
    shown = ["memory_less", PUBLISHED, DEFAULT]
    counts = measured.table("shares", ["part", "stage"])["n_user_months"].loc["test"]
    return markdown(
        ["stage", "test share, %", *map(name_of, shown), "precision of the default"],
        (
            [
                stage,
                percent(counts[stage] / counts.sum()),
                *(percent(rows.loc[(method, stage), "recall"]) for method in shown),
                percent(rows.loc[(DEFAULT, stage), "precision_share"]),
            ]
            for stage in STAGES
        ),
    )


def confusion(measured: Measured) -> str:
    """Confusion matrix of the default, in % of the true stage."""
    rows = measured.table("confusion", ["method", "true_stage", "predicted_stage"]).loc[DEFAULT]["share"].unstack()
    rows = rows.reindex(index=STAGES, columns=STAGES).fillna(0)
    return markdown(
        ["true \\ predicted", *STAGES], ([stage, *(percent(value) for value in row)] for stage, row in rows.iterrows())
    )


def household_runs(households: dict) -> dict[float, list[dict]]:
    """The kept runs of bench/households.py by share of childless shoppers."""
    found: dict[float, list[dict]] = {}
    for run in households["figures"]["runs"]:
        found.setdefault(run["childless_share"], []).append(run)
    return found


def household_figures(households: dict) -> str:
    """Figures by share of childless shoppers: mean over the seeds, and the range."""
    runs = household_runs(households)
    rows = []
    for name in next(iter(runs.values()))[0]["figures"]:
        values = [[run["figures"][name] for run in of_share] for of_share in runs.values()]
        rows.append([name, *(f"{np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for v in values)])
    return markdown(["figure", *(f"{100 * share:.0f} % childless" for share in runs)], rows)


def household_groups(households: dict) -> str:
    """Rows, share right and mean probability of each group of published rows, all seeds together."""
    runs = household_runs(households)
    frames = [
        pd.concat([pd.DataFrame(**run["groups"]) for run in of_share]).assign(
            right=lambda rows: rows["right_share"] * rows["n_rows"],
            expected=lambda rows: rows["probability"] * rows["n_rows"],
        )
        for of_share in runs.values()
    ]
    sums = [frame.groupby("group", sort=False)[["n_rows", "right", "expected"]].sum() for frame in frames]
    header = [f"{100 * share:.0f} %: {what}" for share in runs for what in ("rows", "right, %", "probability, %")]
    lines = [
        [group]
        + [
            text
            for of_share in sums
            for text in (
                f"{of_share.loc[group, 'n_rows']:,.0f}",
                percent(of_share.loc[group, "right"] / of_share.loc[group, "n_rows"]),
                percent(of_share.loc[group, "expected"] / of_share.loc[group, "n_rows"]),
            )
        ]
        for group in sums[0].index
    ]
    return markdown(["published rows", *header], lines)


def on_truth(measured: Measured) -> str:
    """Every method against the true stages of only children."""
    rows = measured.table("truth", ["method"])
    rows = rows.reindex([method for method in NAMES if method in rows.index])
    return markdown(
        ["method", "accuracy, %", "macro recall, %", "log-loss", "ECE", "recall of pregnancy, %"],
        (
            [
                NAMES[method],
                percent(row["accuracy"], row["accuracy_error"]),
                percent(row["macro_recall"]),
                number(row["log_loss"], 3) + f" ± {row['log_loss_error']:.3f}",
                number(row["calibration_error"], 3),
                percent(row["recall_pregnancy"]),
            ]
            for method, row in rows.iterrows()
        ),
    )


def intervals(measured: Measured) -> str:
    """Coverage of the true birth month by predicted stage and active months, over the seeds together."""
    rows = pd.concat([pd.DataFrame(**seed["intervals"]) for seed in measured.seeds])
    rows = rows[rows["by"] == "predicted_stage"]
    rows = rows.assign(held=rows["n_user_months"] * rows["coverage"]).groupby(["stage", "band"])[
        ["n_user_months", "held"]
    ]
    rows = rows.sum()
    bands = ["1 active month", "2-3", "4-8", "9 or more"]
    lines = []
    for stage in STAGES:
        of_bands = [rows.loc[(stage, band)] for band in bands]
        lines.append(
            [stage, *(f"{percent(of['held'] / of['n_user_months'])} ({of['n_user_months']:,.0f})" for of in of_bands)]
        )
    return markdown(["predicted stage", *bands], lines)


def births(measured: Measured) -> str:
    """Shares of newborns and unborn children by confirmation of the birth."""
    rows = measured.table("births", ["figure"])["share"]
    return markdown(
        ["share of user-months, or of children", "%"], ([name, percent(value)] for name, value in rows.items())
    )


def readout_parts(ablation: dict) -> str:
    """Gains of the readout's parts over the plain readout; mean of the seeds."""
    seeds, lines = ablation["figures"]["readout"], []
    for name in seeds[0]:
        cells = [name]
        for labels in ("truth", "registrations"):
            rows = pd.DataFrame([seed[name][labels] for seed in seeds])
            errors = np.sqrt((rows[["accuracy_error", "log_loss_error"]] ** 2).sum()) / len(rows)
            cells += [
                f"{100 * rows['accuracy'].mean():+.2f} ± {100 * errors['accuracy_error']:.2f}",
                f"{rows['log_loss'].mean():+.4f} ± {errors['log_loss_error']:.4f}",
                f"{rows['calibration_error'].mean():.3f}",
            ]
        lines.append(cells)
    plain = [
        np.mean([seed[name][of]["plain_calibration_error"] for seed in seeds]) for of in ("truth", "registrations")
    ]
    lines.insert(0, ["plain", "", "", f"{plain[0]:.3f}", "", "", f"{plain[1]:.3f}"])
    measures = ["accuracy, points", "log-loss", "ECE"]
    header = [f"{of}: {measure}" for of in ("truth", "registrations") for measure in measures]
    return markdown(["readout", *header], lines)


def pictures(measured: Measured) -> dict[str, str]:
    """The page's pictures, by name."""
    accuracy = measured.table("accuracy", ["cohort", "period", "method"]).loc["all"].reset_index()
    by_month = charts.methods_by_month(accuracy[accuracy["period"] != "all"], "accuracy", "accuracy")
    bins = measured.table("calibration", ["method", "probability_bin"]).reset_index()
    return {
        "accuracy": picture("accuracy_by_month", by_month),
        "calibration": picture("calibration", charts.calibration(bins)),
    }


def page(measured: Measured, households: dict, ablation: dict | None) -> str:
    """The whole page."""
    shown, facts = pictures(measured), measured.facts
    sections: list[tuple[Callable[[Measured], str] | str, ...]] = [
        (
            "# Results",
            "Held-out evaluation on simulated shoppers: of everybody in the published files, then of the methods\n"
            "([method.md](method.md)) on users with one child. `make experiment` writes this page.",
        ),
        (
            "## Everybody: the published rows",
            "Three seeds of 14,000 simulated shoppers, 4 % or 50 % of them without a child. A third of the users have their\n"
            "registrations hidden and are scored against the simulator's truth, with any number of children. The models are\n"
            "trained through August 2016 and score September 2016 to February 2017. A row is right if the household has a\n"
            "child in its stage. Recall is the share of children in a stage whose household has a row of the stage. In\n"
            "parentheses: the lowest and the highest seed.",
        ),
        ("", lambda _: household_figures(households)),
        ("", lambda _: household_groups(households)),
        ("## Users with one child", ""),
        (
            "- Data: three seeds of 14,000 simulated users, 4 % of them childless, 24 months through February 2017.\n"
            "- Split by user: 50 % training, 15 % validation (calibration), the rest test. Test users have one child.\n"
            "- Training data ends in August 2016. The test window is September 2016 to February 2017.\n"
            "- Every user-month counts from the first active month on, inactive months included.\n"
            "- Labels are the registered birthdays; 4 % of them are wrong.\n"
            f"{users(measured)}\n"
            "- ± is one standard error over users. A 95 % interval is two standard errors to either side.",
        ),
        ("## Methods", methods),
        ("", gap_closed),
        (
            "### On the truth",
            "The same months of the test users with exactly one child, against the simulator's truth. The other tables\n"
            "are on registrations, except for intervals and births.",
        ),
        ("", on_truth),
        ("", f"![Accuracy by month]({shown['accuracy']})"),
        (
            "## Replication of the published protocol",
            "Six months of history from September 2016 on. Dynamic fusion starts without a prior state. Both methods use\n"
            "the features of the month and of the same month last year. The publication reports gains over its stateless\n"
            "baseline of up to 15 % in accuracy and up to 21.76 % in recall, most in months with sparse behaviour.\n"
            "The table gives gains in points, with the relative gain in parentheses.",
        ),
        ("", replication),
        (
            "",
            "The direction is comparable: fusion improves on the baseline, most in February, the sparsest month. The first\n"
            "month has nothing to fuse. The size of the gains is not comparable. The published data, tables and equations\n"
            "are not public, and the publication does not state whether its percentages are absolute or relative.",
        ),
        (
            "## Accuracy by group, %",
            "Dynamic fusion and the filter have 24 months of history. Bold marks the best of all methods above.",
            cohorts,
        ),
        ("", losses_to_simpler),
        ("## Recall by stage, %", recalls),
        ("Confusion matrix of the default, in % of the true stage:", confusion),
        ("## Calibration", f"![Accuracy by predicted probability]({shown['calibration']})"),
        (
            "### Intervals of the birth month",
            "Share of the user-months whose 80 % interval holds the true birth month, in %, with the number of user-months:\n"
            "only children of test users in the marts, registered or not.",
        ),
        ("", intervals),
        (
            "### Births",
            "Unconfirmed births are not published as born. Same users. The simulator has no losses: for the last row, log-\n"
            "likelihoods of families not yet expecting replace those of the months after the birth.",
            births,
        ),
    ]
    if ablation:
        sections += [
            (
                "## Ablation",
                "Differences from the default with one change, on one seed (`make ablation`). ± is one standard error of the\n"
                "paired difference over users.",
            ),
            ("", lambda _: ablations(ablation)),
            (
                "### Readout",
                "Differences of the readout's parts from a plain readout (tau, gamma, delta) calibrated by log-loss on the\n"
                "registrations; mean of three seeds. On registrations, a loss aware of wrong ones cannot gain.",
            ),
            ("", lambda _: readout_parts(ablation)),
            (
                "## Accuracy by number of training users, %",
                "Training users with one registered child, and 30 % as many validation users (`make ablation`).",
            ),
            ("", lambda _: few_labels(ablation)),
        ]
    sections.append(("## Versions", made_with(facts)))
    parts = []
    for section in sections:
        parts += [text for text in (one if isinstance(one, str) else one(measured) for one in section) if text]
    return "\n\n".join(parts) + "\n"


def ablations(ablation: dict) -> str:
    """Ablation table; numbers of training users have a table of their own."""
    return markdown(
        ["change", "accuracy, points", "log-loss"],
        (
            [
                CHANGES.get(name, name),
                f"{100 * row['accuracy']:+.1f} ± {100 * row['accuracy_error']:.1f}",
                f"{row['log_loss']:+.3f} ± {row['log_loss_error']:.3f}",
            ]
            for name, row in ablation["figures"]["changes"].items()
            if "training users" not in name
        ),
    )


def made_with(facts: dict) -> str:
    """Commit, machine and versions of kept figures."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return wrapped(f"Commit {facts['commit']}, Python {facts['python']}, {facts['machine']}, {versions}")


def results(name: str) -> dict | None:
    """The kept figures of a benchmark; None: it never ran."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def write(to: Path = DOCS / "results.md") -> None:
    """Write the page."""
    to.write_text(page(Measured(results("experiment")), results("households"), results("ablation")))


if __name__ == "__main__":
    write()
