"""Rankers: logistic regressions that predict from a candidate's columns whether it is relevant.

A model is nothing but the columns it may read, and for hybrid_even what each row counts. One that reads a single generator
keeps that generator's order and learns its probability. The hybrids read all. For carts a regression within each case
learns what tells its few right candidates from the wrong ones (conditional logit), and one over all cases how probable
that makes them; for empty carts, where many are right, one regression learns both. Each month is told by regressions
that learned from the months before it.
"""

from itertools import product
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.optimize import minimize

from life_stage.regression import use_one_thread

KEYS = ("month", "kind", "query_id", "item_no", "is_evaluated", "is_relevant", "is_new", "stage")
OF_THE_CASE = ("frequency", "recency")  # equal for all candidates of a case: they say how probable, not which
STAGE_COLUMNS = ("popular_in_stage", "popular_in_stage_rank_score", "stage_lift", "next_stage_lift")
# From the cheapest to the dearest: on a tie the cheaper one is the champion.
MODELS = ("popular", "popular_in_stage", "habit", "together", "alike", "linear", "hybrid_without_stage", "hybrid")
DEEP_COLUMNS = (
    "deep",
    "deep_rank_score",
)  # where the network takes part: no hybrid reads them, as recommend() has none
ONE_IN = 10  # examples that are wrong are learned from, and count for all
# Which rows are learned from, as DuckDB and pandas read it; with a prime, which one in ten differs from case to case.
LEARNED = f"is_relevant == 1 or (query_id * 7919 + item_no) % {ONE_IN} == 0"
MIN_TARGETS = 10


class RankerSettings(NamedTuple):
    """How the order within carts is learned; `python -m life_stage_checkout.tuning` tries others.

    penalty: of the squared weights, on columns of unit variance; most_counted: right answers that a cart may count for,
    so that a large one does not outvote the others.
    """

    penalty: float
    most_counted: int


def coefficients(
    *, examples: duckdb.DuckDBPyRelation, months: duckdb.DuckDBPyRelation, options: dict[str, float]
) -> pa.Table:
    """One row per month, kind and model: cost_no, intercept and, for every column of the examples, w_<column>.

    examples, months: checkout_examples, checkout_months. options: the RankerSettings of the hybrids of carts; `even_stages`.
    """
    use_one_thread()
    columns = [name for name in examples.columns if name not in KEYS]
    models = [*MODELS, *["hybrid_even"] * options["even_stages"], *["deep"] * ("deep" in columns)]
    setting = RankerSettings(options["penalty"], options["most_counted"])
    rows = examples.filter(LEARNED).order("query_id, item_no").df()
    learned = []
    evaluated_or_upcoming = months.filter("is_evaluated or not is_closed").order("month").project("month").fetchall()
    for (month,), kind in product(evaluated_or_upcoming, ("cart", "user")):
        before = rows[(rows["month"] < pd.Timestamp(month)) & (rows["kind"] == kind)]
        if before["is_relevant"].sum() < MIN_TARGETS:
            continue
        others = of_others(before)
        for cost_no, model in enumerate(models):
            counts = even(others) if model == "hybrid_even" else 1.0
            read, known = columns_of(model, kind, columns), before if model == "deep" else others
            intercept, weights = fit(known, read, setting if kind == "cart" else None, counts)
            learned.append({"month": month, "kind": kind, "model": model, "cost_no": cost_no, "intercept": intercept})
            learned[-1] |= {f"w_{name}": weights.get(name, 0.0) for name in columns}
    return pa.Table.from_pylist(learned, schema=schema_of(columns))


def of_others(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that another generator than the network names: with and without it the others learn the same."""
    if "deep" not in rows:
        return rows
    generators = [name for name in rows if f"{name}_rank_score" in rows and name != "deep"]
    return rows[(rows[generators] > 0).any(axis=1)]


def columns_of(model: str, kind: str, columns: list[str]) -> list[str]:
    """The columns that a model reads: one generator, for all items or for what is known of the case, or all."""
    if model.startswith("hybrid"):
        left_out = DEEP_COLUMNS + STAGE_COLUMNS if model == "hybrid_without_stage" else DEEP_COLUMNS
        return [name for name in columns if name not in left_out]
    context = "cart" if kind == "cart" else "history"
    return [model if model in columns else f"{model}_{context}"]


def even(rows: pd.DataFrame) -> np.ndarray:
    """What each row counts so that the cases of every stage count the same together, 1 on average over the cases."""
    n_queries = rows.groupby("stage")["query_id"].nunique()
    return rows["stage"].map(n_queries.mean() / n_queries).to_numpy()


def fit(
    rows: pd.DataFrame, columns: list[str], setting: RankerSettings | None, counts: np.ndarray | float = 1.0
) -> tuple[float, dict[str, float]]:
    """Intercept and weights by column; columns without variance have none, and a single generator speaks for its items.

    setting: of the order within cases, learned first if it is given and there are several columns; counts: of each row.
    """
    matrix, is_relevant = rows[columns].to_numpy(float), rows["is_relevant"].to_numpy() == 1
    if len(columns) == 1 or setting is None:
        intercept, weights = regression(matrix, is_relevant, counts)
        weights = np.maximum(weights, 1e-6) if len(columns) == 1 else weights
    else:
        orders = np.array([name not in OF_THE_CASE for name in columns])
        weights = np.zeros(len(columns))
        weights[orders] = order(matrix[:, orders], is_relevant, rows["query_id"].to_numpy(), setting, counts)
        told = np.column_stack([matrix @ weights, matrix[:, ~orders]])
        intercept, (factor, *rest) = regression(told, is_relevant, counts)
        weights[orders] *= max(factor, 1e-6)
        weights[~orders] = rest
    return intercept, dict(zip(columns, weights, strict=True))


def regression(matrix: np.ndarray, is_relevant: np.ndarray, counts: np.ndarray | float) -> tuple[float, np.ndarray]:
    """Intercept and weights of a logistic regression, penalised on columns of unit variance."""
    from sklearn.linear_model import LogisticRegression  # loads in a second

    spread, weights = matrix.std(axis=0), np.zeros(matrix.shape[1])
    used, counted = spread > 1e-9, np.where(is_relevant, 1, ONE_IN) * counts
    if not used.any():  # generators that name nothing here
        return float(np.log(counted[is_relevant].sum() / counted[~is_relevant].sum())), weights
    fitted = LogisticRegression(solver="newton-cholesky", max_iter=100)
    fitted.fit(matrix[:, used] / spread[used], is_relevant, counted)
    weights[used] = fitted.coef_[0] / spread[used]
    return float(fitted.intercept_[0]), weights


def order(
    matrix: np.ndarray,
    is_relevant: np.ndarray,
    query_id: np.ndarray,
    setting: RankerSettings,
    counts: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Weights by which each right row of a case stands out from the wrong ones; rows in the order of query_id.

    A right row's share of its own exponential and those of the wrong rows, each of which stands for ONE_IN of them, is
    how probable it is that it is the right one. The mean over the cases of minus the logarithm, each as often as it
    counts, plus the penalty, is least.
    """
    spread = matrix.std(axis=0)
    used = spread > 1e-9
    scaled = (matrix[:, used] - matrix[:, used].mean(axis=0)) / spread[used]
    starts = np.flatnonzero(np.r_[True, query_id[1:] != query_id[:-1]])
    case = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(query_id)]))
    n_right = np.add.reduceat(is_relevant.astype(float), starts)[case]
    counted = is_relevant * np.minimum(n_right, setting.most_counted) / np.maximum(n_right, 1) / len(starts)
    counted *= counts
    stands_for = np.where(is_relevant, 1.0, ONE_IN)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = scaled @ weights
        odds -= np.maximum.reduceat(odds, starts)[case]
        strength = np.exp(np.maximum(odds, -500)) * stands_for
        against = np.add.reduceat(strength * ~is_relevant, starts)[case]
        each = counted / (strength + against)
        missed = strength * np.where(is_relevant, each, np.add.reduceat(each, starts)[case]) - counted
        value = counted @ np.log1p(against / strength)
        return value + setting.penalty * weights @ weights, missed @ scaled + 2 * setting.penalty * weights

    weights = np.zeros(len(used))
    if used.any():
        weights[used] = minimize(loss, np.zeros(used.sum()), jac=True, method="L-BFGS-B").x / spread[used]
    return weights


def schema_of(columns: list[str]) -> pa.Schema:
    """Of the coefficients, also when there are none."""
    keys = [("month", pa.date32()), ("kind", pa.string()), ("model", pa.string()), ("cost_no", pa.int32())]
    return pa.schema([*keys, ("intercept", pa.float64()), *((f"w_{name}", pa.float64()) for name in columns)])
