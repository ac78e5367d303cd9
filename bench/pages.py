"""Generated pages: docs/results.md with its pictures, docs/performance.md, and tables of docs/checkout.md and README.

Templates in bench/templates, figures in bench/results. python bench/pages.py
"""

import json
import re
from textwrap import fill

import numpy as np
import pandas as pd
from harness import PROJECT, RESULTS
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from life_stage.report import charts

DEFAULT, UPPER_BOUND = "birth_month_filter", "attainable"
IN_GROUPS = ["memory_less", "dynamic_fusion", DEFAULT]
N_NODES, N_TABLES = 6, 10  # the dearest and the largest


def number(value: float, spec: str, error: float | None = None) -> str:
    """A number, with its standard error if there is one; nothing if it is missing."""
    if pd.isna(value):
        return ""
    return format(value, spec) + ("" if error is None or pd.isna(error) else f" ± {format(error, spec.strip('+'))}")


def percent(value: float, error: float | None = None, spec: str = ".1f") -> str:
    """A share in percent."""
    return number(100 * value, spec, error if error is None else 100 * error)


def duration(of_seconds: float) -> str:
    """In minutes and seconds, from ten minutes on in minutes, below ten seconds with a digit after the point."""
    if of_seconds < 10:
        return f"{of_seconds:.1f} s"
    minutes, rest = divmod(round(of_seconds), 60)
    if minutes >= 10:
        return f"{of_seconds / 60:.0f} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


TEMPLATES = Environment(
    loader=FileSystemLoader(PROJECT / "bench" / "templates"),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
)
TEMPLATES.globals |= {"zip": zip, "nan": np.nan}
TEMPLATES.filters |= {
    "number": number,
    "percent": percent,
    "duration": duration,
    "best_marked": lambda of_methods: best_marked(of_methods),
    "short": lambda value: f"{value:,.{int(value < 10)}f}",
    "log2": np.log2,
    "fill": lambda text: fill(text, 120, break_long_words=False, break_on_hyphens=False),
}


def rendered(template: str, **data: object) -> str:
    """A page from its template."""
    return TEMPLATES.get_template(template).render(data)


def results(name: str) -> dict:
    """The stored figures of a benchmark with the facts of its measurement."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def versions(names: list[str]) -> dict[str, list]:
    """Commits, machines and packages of stored figures."""
    stored = [results(name) | {"name": name} for name in sorted(names)]
    return {
        "stored": stored,
        "pythons": [f"Python {of['python']}" for of in stored],
        "packages": [f"{package} {version}" for of in stored for package, version in of["versions"].items()],
    }


def over_seeds(seeds: list[dict], name: str, *keys: str) -> pd.DataFrame:
    """Mean over the seeds by key; columns ending in _error: of the mean, the seeds being different people."""
    groups = pd.concat([pd.DataFrame(**seed[name]) for seed in seeds]).infer_objects().groupby(list(keys), sort=False)
    found = groups.mean(numeric_only=True)
    for column in (c for c in found if c.endswith("_error") and not c.endswith("calibration_error")):
        squares = groups[column].apply(lambda errors: np.square(errors.astype(float)).sum(skipna=False))
        found[column] = np.sqrt(squares) / groups.size()
    return found


def tree(rows: pd.DataFrame) -> dict:
    """Rows as dictionaries, nested by the levels of the index."""
    found: dict = {}
    for key, row in rows.to_dict("index").items():
        *outer, last = key if isinstance(key, tuple) else (key,)
        level = found
        for part in outer:
            level = level.setdefault(part, {})
        level[last] = row
    return found


def seeds_agree(seeds: list[dict]) -> bool:
    """Whether every seed puts the methods into the same order of accuracy."""
    frames = (pd.DataFrame(**seed["accuracy"]).query("period == 'all' and cohort == 'all'") for seed in seeds)
    return len({tuple(rows.sort_values("accuracy")["method"]) for rows in frames}) == 1


def simpler_methods_ahead(accuracy: pd.DataFrame) -> list[tuple[str, str, str, float]]:
    """(cohort, period, method, lead) where another method exceeds the default's accuracy."""
    wide = accuracy["accuracy"].unstack("method").drop(columns=UPPER_BOUND, errors="ignore")
    best, lead = wide.idxmax(axis=1), wide.max(axis=1) - wide[DEFAULT]
    return [(*reversed(key), best[key], lead[key]) for key in wide.index[best != DEFAULT]]


def best_marked(of_methods: dict[str, dict]) -> list[str]:
    """Accuracies of the methods shown, that of the best of all methods in bold."""
    accuracies = {method: of["accuracy"] for method, of in of_methods.items() if method not in ("prior", UPPER_BOUND)}
    best = max(accuracies, key=accuracies.get)
    return [f"**{percent(accuracies[of])}**" if of == best else percent(accuracies[of]) for of in IN_GROUPS]


def methods_page() -> dict[str, str]:
    """docs/results.md and its pictures."""
    seeds, ablation = results("experiment")["figures"]["seeds"], results("ablation")["figures"]
    accuracy = over_seeds(seeds, "accuracy", "period", "cohort", "method").sort_index()
    monthly = accuracy.xs("all", level="cohort").drop(index="all").reset_index()
    intervals = pd.concat([pd.DataFrame(**seed["intervals"]) for seed in seeds])
    intervals = intervals.assign(held=intervals["n_user_months"] * intervals["coverage"])
    intervals = intervals.groupby(["stage", "band"])[["n_user_months", "held"]].sum()
    truth, gain = over_seeds(seeds, "truth", "method"), over_seeds(seeds, "gain", "period", "cohort", "method")
    errors = ["accuracy_error", "log_loss_error"]
    largest_error = pd.concat([accuracy.loc["all", "all"], truth])[errors].max().to_dict()
    fusion = gain.xs(("all", "dynamic_fusion_cold"), level=("cohort", "method"))
    largest_error["gain"] = fusion[["accuracy_gain_error", "recall_gain_error"]].max(axis=None)
    text = rendered(
        "results.md",
        accuracy=tree(accuracy),
        seeds_agree=seeds_agree(seeds),
        simpler_methods_ahead=simpler_methods_ahead(accuracy),
        intervals=tree(intervals),
        n_in_smallest_cell=intervals["n_user_months"].min(),
        largest_error=largest_error,
        gain=tree(gain),
        recall=tree(over_seeds(seeds, "recall", "period", "method", "stage")),
        shares=tree(over_seeds(seeds, "shares", "part", "stage")),
        confusion=tree(over_seeds(seeds, "confusion", "method", "true_stage", "predicted_stage")),
        users=tree(over_seeds(seeds, "users", "part")),
        truth=tree(truth),
        births=tree(over_seeds(seeds, "births", "figure")),
        ablation=ablation,
        readout=tree(over_seeds(ablation["readout"], "readout", "part", "labels")),
        **household_tables(results("households")["figures"]["runs"]),
        learning_curve=[
            run | {"right": dict(zip(run["groups"]["columns"], run["groups"]["data"][0], strict=True))["right_share"]}
            for run in results("learning_curve")["figures"]["runs"]
        ],
        **versions(["experiment", "households", "learning_curve", "ablation"]),
    )
    by_month = charts.methods_by_month(monthly, "accuracy")
    bins = over_seeds(seeds, "calibration", "method", "probability_bin").sort_index().reset_index()
    return {
        "docs/results.md": text,
        "docs/pictures/accuracy_by_month.svg": charts.svg(by_month),
        "docs/pictures/calibration.svg": charts.svg(charts.calibration(bins)),
    }


def household_tables(runs: list[dict]) -> dict[str, list]:
    """Figures by share of childless shoppers over the seeds, and groups of rows with all seeds together."""
    figures = pd.DataFrame([run["figures"] for run in runs], index=[run["childless_share"] for run in runs])
    groups = pd.concat([pd.DataFrame(**run["groups"]).assign(share=run["childless_share"]) for run in runs])
    groups["right"], groups["expected"] = (groups[of] * groups["n_rows"] for of in ("right_share", "probability"))
    groups = groups.groupby(["group", "share"], sort=False)[["n_rows", "right", "expected"]].sum()
    ranges = {name: values.groupby(level=0).agg(["mean", "min", "max"]) for name, values in figures.items()}
    return {
        "household_figures": [(name, of.to_dict("records")) for name, of in ranges.items()],
        "household_groups": [(name, groups.loc[name].to_dict("records")) for name in groups.index.unique("group")],
    }


def measured(name: str) -> dict:
    """Stored figures with the size in words, and medians of each kind of run: the peak in millions of bytes."""
    stored = results(name)
    figures = stored["figures"] | {"commit": stored["commit"]}
    users = f", {figures['n_users']:,} users" if "n_users" in figures else ""
    figures["size"] = f"{figures['n_actions'] / 1e6:,.0f} million actions{users}"
    columns = ["cpu_s", "wall_s", "peak_mb"]
    medians = {kind: pd.DataFrame(runs)[columns].median() for kind, runs in figures["runs"].items()}
    figures["medians"] = {kind: dict(of) | {"peak_mb": of["peak_mb"] * 2**20 / 1e6} for kind, of in medians.items()}
    return figures


def by_size(benchmark: str) -> list[dict]:
    """The stored figures of a benchmark, the fewest actions first."""
    found = [measured(file.stem) for file in RESULTS.glob(f"{benchmark}_*.json")]
    return sorted(found, key=lambda figures: figures["n_actions"])


def whole_runs() -> list[dict]:
    """Stored whole runs by size, with storage (NaN: not measured), memory, dearest nodes and largest tables."""
    missing = dict.fromkeys(("source", "warehouse", "n_user_months", "bytes_a_user_month"), np.nan)
    found = by_size("whole_runs")
    for figures in found:
        runs = figures["runs"]
        figures["most_mb"] = max(of["peak_mb"] for kind, of in figures["medians"].items() if kind != "scan")
        figures["storage"] = runs.get("one new month", [{}])[-1].get("storage", missing)
        figures["tables"] = list(figures["storage"].get("tables", {}).items())[:N_TABLES]
        figures["dearest"] = {
            kind: list(pd.DataFrame([run["nodes"] for run in of_kind]).median().nlargest(N_NODES).items())
            for kind, of_kind in runs.items()
            if "nodes" in of_kind[0]
        }
    return found


def performance_page() -> dict[str, str]:
    """docs/performance.md, and the table in README's section Scale."""
    runs = whole_runs()
    with_24_months = [figures for figures in runs if figures["months"] == 24]
    names = [file.stem for file in RESULTS.glob("*.json") if file.stem.startswith(("peers", "scoring", "whole_runs"))]
    text = rendered(
        "performance.md",
        whole_runs=runs,
        with_24_months=with_24_months,
        small=with_24_months[0],
        large=runs[-1],
        in_detail=[of for of in (with_24_months[0], runs[-1]) if of["tables"]],
        peers=by_size("peers"),
        scoring=measured("scoring_cost"),
        **versions(names),
    )
    readme = rendered("readme.md", with_24_months=with_24_months)
    return {"docs/performance.md": text, "README.md": between_marks("README.md", readme)}


def checkout_page() -> dict[str, str]:
    """docs/checkout.md with new tables."""
    figures = results("checkout_journey")["figures"] | results("checkout_splits")["figures"]
    of_seeds = figures["by_seed"].values()
    means = {model: np.mean([of[model] for of in of_seeds], axis=0) for model in figures["by_seed"]["0"]}
    stored = {name: results(f"checkout_{name}")["figures"] for name in ("instacart", "belgian")}
    without_input = {"instacart": [], "belgian": ["habit", "gp_topfreq"]}  # gp_topfreq is popular there
    others = {
        f"{name}_{kind}": of | {"without_input": without_input[name]}
        for name, of_kinds in stored.items()
        for kind, of in of_kinds.items()
    }
    text = rendered("checkout.md", means=means, others=others, **figures)
    return {"docs/checkout.md": between_marks("docs/checkout.md", text)}


def between_marks(page: str, tables: str) -> str:
    """A page whose tables, each between two equal comments, are replaced by the new ones."""
    text = (PROJECT / page).read_text()
    for new, mark in re.findall(r"((<!-- \w+ -->).*?\2)", tables, flags=re.S):
        text, n_tables = re.subn(f"{mark}.*?{mark}", lambda _, new=new: new, text, flags=re.S)
        assert n_tables == 1, f"{page} has no table between {mark}"
    return text


def pages() -> dict[str, str]:
    """All generated texts by their path in the project."""
    return methods_page() | performance_page() | checkout_page()


def write() -> None:
    """Write all pages."""
    for path, text in pages().items():
        (PROJECT / path).write_text(text)


if __name__ == "__main__":
    write()
