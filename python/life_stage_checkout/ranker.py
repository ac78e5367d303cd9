"""The rankers: logistic regressions that tell from a candidate's columns how probable it is that it is right.

A model is nothing but the columns it may read. One that reads a single source keeps that source's order and learns its
probability. The hybrids read all. For carts a regression within each case learns what tells its few right candidates
from the wrong ones (conditional logit), and one over all cases how probable that makes them; for empty carts, where
many are right, one regression learns both. Each month is told by regressions that learned from the months before it.
"""

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.optimize import minimize

from life_stage.regression import use_one_thread

KEYS = ("month", "kind", "case_no", "item_no", "is_closed", "is_judged", "is_target", "is_new")
OF_THE_CASE = ("frequency", "recency")  # equal for all candidates of a case: they say how probable, not which
STAGE_COLUMNS = ("popular_in_stage", "popular_in_stage_place", "stage_lift", "next_stage_lift")
# From the cheapest to the dearest: on a tie the cheaper one is the champion.
SINGLE = ("popular", "popular_in_stage", "habit", "together", "alike", "linear")
MODELS = (*SINGLE, "hybrid_without_stage", "hybrid")
ONE_IN = 10  # examples that are wrong are learned from, and count for all
MIN_TARGETS = 10
MOST_COUNTED = 3  # right answers of a case: a large basket is not to outvote the others


def coefficients(*, examples: duckdb.DuckDBPyRelation, options: dict[str, float]) -> pa.Table:
    """One row per month, kind and model: cost_no, intercept and, for every column of the examples, w_<column>.

    examples: checkout_examples; options: `penalty` of the hybrids, on columns of unit variance.
    """
    use_one_thread()
    columns = [name for name in examples.columns if name not in KEYS]
    known = examples.filter(f"is_closed and (is_target = 1 or (case_no * 7919 + item_no) % {ONE_IN} = 0)")
    rows = known.order("case_no, item_no").df()
    learned = []
    for month, kind in told(examples):
        before = rows[(rows["month"] < pd.Timestamp(month)) & (rows["kind"] == kind)]
        if before["is_target"].sum() < MIN_TARGETS:
            continue
        for cost_no, model in enumerate(MODELS):
            penalty = options["penalty"] if kind == "cart" else None
            intercept, weights = fit(before, columns_of(model, kind, columns), penalty)
            learned.append({"month": month, "kind": kind, "model": model, "cost_no": cost_no, "intercept": intercept})
            learned[-1] |= {f"w_{name}": weights.get(name, 0.0) for name in columns}
    return pa.Table.from_pylist(learned, schema=schema_of(columns))


def told(examples: duckdb.DuckDBPyRelation) -> list[tuple]:
    """The months and kinds that need a model: the judged ones, and the month to come, whose carts are not known yet."""
    rows = examples.filter("is_judged or not is_closed").project("month, kind, is_closed").distinct().fetchall()
    return sorted({(month, kind) for month, kind, _ in rows} | {(row[0], "cart") for row in rows if not row[2]})


def columns_of(model: str, kind: str, columns: list[str]) -> list[str]:
    """The columns that a model reads: one source, for all items or for what is known of the case, or all."""
    if model == "hybrid":
        return columns
    if model == "hybrid_without_stage":
        return [name for name in columns if name not in STAGE_COLUMNS]
    place = "cart" if kind == "cart" else "history"
    return [model if model in columns else f"{model}_{place}"]


def fit(rows: pd.DataFrame, columns: list[str], penalty: float | None) -> tuple[float, dict[str, float]]:
    """Intercept and weights by column; columns without variance have none, and a single source speaks for its items.

    penalty: of the order within cases, learned first if it is given and there are several columns.
    """
    matrix, is_target = rows[columns].to_numpy(float), rows["is_target"].to_numpy() == 1
    if len(columns) == 1 or penalty is None:
        intercept, weights = regression(matrix, is_target)
        weights = np.maximum(weights, 1e-6) if len(columns) == 1 else weights
    else:
        orders = np.array([name not in OF_THE_CASE for name in columns])
        weights = np.zeros(len(columns))
        weights[orders] = order(matrix[:, orders], is_target, rows["case_no"].to_numpy(), penalty)
        intercept, (factor, *rest) = regression(np.column_stack([matrix @ weights, matrix[:, ~orders]]), is_target)
        weights[orders] *= max(factor, 1e-6)
        weights[~orders] = rest
    return intercept, dict(zip(columns, weights, strict=True))


def regression(matrix: np.ndarray, is_target: np.ndarray) -> tuple[float, np.ndarray]:
    """Intercept and weights of a logistic regression, penalised on columns of unit variance."""
    from sklearn.linear_model import LogisticRegression  # loads in a second

    spread, weights = matrix.std(axis=0), np.zeros(matrix.shape[1])
    used = spread > 1e-9
    if not used.any():  # sources that name nothing here
        return 0.0, weights
    fitted = LogisticRegression(solver="newton-cholesky", max_iter=100)
    fitted.fit(matrix[:, used] / spread[used], is_target, np.where(is_target, 1, ONE_IN))
    weights[used] = fitted.coef_[0] / spread[used]
    return float(fitted.intercept_[0]), weights


def order(matrix: np.ndarray, is_target: np.ndarray, case_no: np.ndarray, penalty: float) -> np.ndarray:
    """Weights by which each right row of a case stands out from the wrong ones; rows in the order of case_no.

    A right row's share of its own exponential and those of the wrong rows, each of which stands for ONE_IN of them, is
    how probable it is that it is the right one. The mean over the cases of minus the logarithm, plus penalty times the
    squared weights, of columns of unit variance, is least.
    """
    spread = matrix.std(axis=0)
    used = spread > 1e-9
    scaled = (matrix[:, used] - matrix[:, used].mean(axis=0)) / spread[used]
    starts = np.flatnonzero(np.r_[True, case_no[1:] != case_no[:-1]])
    case = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(case_no)]))
    n_right = np.add.reduceat(is_target.astype(float), starts)[case]
    counted = is_target * np.minimum(n_right, MOST_COUNTED) / np.maximum(n_right, 1) / len(starts)
    stands_for = np.where(is_target, 1.0, ONE_IN)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = scaled @ weights
        odds -= np.maximum.reduceat(odds, starts)[case]
        strength = np.exp(np.maximum(odds, -500)) * stands_for
        against = np.add.reduceat(strength * ~is_target, starts)[case]
        each = counted / (strength + against)
        missed = strength * np.where(is_target, each, np.add.reduceat(each, starts)[case]) - counted
        value = counted @ np.log1p(against / strength)
        return value + penalty * weights @ weights, missed @ scaled + 2 * penalty * weights

    weights = np.zeros(len(used))
    if used.any():
        weights[used] = minimize(loss, np.zeros(used.sum()), jac=True, method="L-BFGS-B").x / spread[used]
    return weights


def schema_of(columns: list[str]) -> pa.Schema:
    """Of the coefficients, also when there are none."""
    keys = [("month", pa.date32()), ("kind", pa.string()), ("model", pa.string()), ("cost_no", pa.int32())]
    return pa.schema([*keys, ("intercept", pa.float64()), *((f"w_{name}", pa.float64()) for name in columns)])
