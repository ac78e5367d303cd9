"""Rankers: logistic regressions of a candidate's relevance on its columns in checkout_examples.

A model is the set of columns it uses and, for hybrid_even, weights of the rows. A model of a single generator keeps the
generator's order and calibrates its probability; the hybrids use all generators. For carts, a conditional logit within
each query ranks the candidates, and a logistic regression over all queries calibrates the probability. For empty carts,
which have many relevant items, one regression does both. Each month is scored by regressions trained on the months
before it.
"""

from datetime import date
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.optimize import minimize

from life_stage.training.regression import use_one_thread

KEYS = ("month", "kind", "query_id", "item_no", "is_relevant", "is_new", "stage")
QUERY_COLUMNS = ("frequency", "recency")  # equal for all candidates of a query: no effect on the order
STAGE_COLUMNS = ("popular_in_stage", "popular_in_stage_rank_score", "stage_lift", "next_stage_lift")
STAGE_COLUMNS += ("type_stage_lift", "next_type_stage_lift")
# By ascending cost: on a tie the cheaper model is the champion.
MODELS = ("popular", "popular_in_stage", "habit", "together", "alike", "linear", "hybrid_without_stage", "hybrid")
DEEP_COLUMNS = ("deep", "deep_rank_score")  # not used by the hybrids, because recommend() has no network
ONE_IN = 10  # sampling rate of irrelevant examples, which are weighted by it
# Condition of the rows of checkout_training_examples in pandas; the prime varies the sampled items between queries.
TRAINING_ROWS = f"is_relevant == 1 or (query_id * 7919 + item_no) % {ONE_IN} == 0"
MIN_RELEVANT = 10


class RankerSettings(NamedTuple):
    """Settings of the conditional logit for carts; `python -m life_stage_checkout.tuning` searches them.

    penalty: of the squared weights, on columns of unit variance; most_counted: maximum number of relevant items that a
    cart is weighted by.
    """

    penalty: float
    most_counted: int


def coefficients(*, examples: duckdb.DuckDBPyRelation, month: str, options: dict[str, float]) -> pa.Table:
    """One row per kind and model of the month: cost_no, intercept and, for every column of the examples, w_<column>.

    examples: checkout_training_examples. options: RankerSettings of the cart hybrids; `even_stages`; `n_months`, the
    number of months before the month that the models are trained on.
    """
    use_one_thread()
    columns = [name for name in examples.columns if name not in KEYS]
    models = [*MODELS, *["hybrid_even"] * options["even_stages"], *["deep"] * ("deep" in columns)]
    setting = RankerSettings(options["penalty"], options["most_counted"])
    since = f"month >= date '{month}' - interval {options['n_months']} month and month < date '{month}'"
    rows = examples.filter(since).order("query_id, item_no").df()
    trained, day = [], date.fromisoformat(month)
    for kind in ("cart", "user"):
        before = rows[rows["kind"] == kind]
        if before["is_relevant"].sum() < MIN_RELEVANT:
            continue
        standard = standard_candidates(before)
        for cost_no, model in enumerate(models):
            row_weights = even(standard) if model == "hybrid_even" else 1.0
            used, training = columns_of(model, kind, columns), before if model == "deep" else standard
            intercept, weights = fit(training, used, setting if kind == "cart" else None, row_weights)
            trained.append({"month": day, "kind": kind, "model": model, "cost_no": cost_no, "intercept": intercept})
            trained[-1] |= {f"w_{name}": weights.get(name, 0.0) for name in columns}
    return pa.Table.from_pylist(trained, schema=schema_of(columns))


def standard_candidates(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows retrieved by a generator other than the network, so that the network does not change other models."""
    if "deep" not in rows:
        return rows
    generators = [name for name in rows if f"{name}_rank_score" in rows and name != "deep"]
    return rows[(rows[generators] > 0).any(axis=1)]


def columns_of(model: str, kind: str, columns: list[str]) -> list[str]:
    """The columns that a model uses: those of one generator, or all."""
    if model.startswith("hybrid"):
        excluded = DEEP_COLUMNS + STAGE_COLUMNS if model == "hybrid_without_stage" else DEEP_COLUMNS
        return [name for name in columns if name not in excluded]
    context = "cart" if kind == "cart" else "history"
    return [model if model in columns else f"{model}_{context}"]


def even(rows: pd.DataFrame) -> np.ndarray:
    """Row weights that give every stage the same total; their mean over the queries is 1."""
    n_queries = rows.groupby("stage")["query_id"].nunique()
    return rows["stage"].map(n_queries.mean() / n_queries).to_numpy()


def fit(
    rows: pd.DataFrame, columns: list[str], setting: RankerSettings | None, row_weights: np.ndarray | float = 1.0
) -> tuple[float, dict[str, float]]:
    """Intercept and weights by column; 0 without variance, positive for a single generator.

    setting: of the conditional logit, which runs first if setting is given and there are several columns.
    """
    matrix, is_relevant = rows[columns].to_numpy(float), rows["is_relevant"].to_numpy() == 1
    if len(columns) == 1 or setting is None:
        intercept, weights = regression(matrix, is_relevant, row_weights)
        weights = np.maximum(weights, 1e-6) if len(columns) == 1 else weights
    else:
        orders = np.array([name not in QUERY_COLUMNS for name in columns])
        weights = np.zeros(len(columns))
        weights[orders] = order(matrix[:, orders], is_relevant, rows["query_id"].to_numpy(), setting, row_weights)
        scores = np.column_stack([matrix @ weights, matrix[:, ~orders]])
        intercept, (factor, *rest) = regression(scores, is_relevant, row_weights)
        weights[orders] *= max(factor, 1e-6)
        weights[~orders] = rest
    return intercept, dict(zip(columns, weights, strict=True))


def regression(
    matrix: np.ndarray, is_relevant: np.ndarray, row_weights: np.ndarray | float
) -> tuple[float, np.ndarray]:
    """Intercept and weights of a logistic regression, penalised on columns of unit variance."""
    from sklearn.linear_model import LogisticRegression  # takes a second to load

    spread, weights = matrix.std(axis=0), np.zeros(matrix.shape[1])
    used, sample_weights = spread > 1e-9, np.where(is_relevant, 1, ONE_IN) * row_weights
    if not used.any():  # the generators retrieve nothing here
        return float(np.log(sample_weights[is_relevant].sum() / sample_weights[~is_relevant].sum())), weights
    fitted = LogisticRegression(solver="newton-cholesky", max_iter=100)
    fitted.fit(matrix[:, used] / spread[used], is_relevant, sample_weights)
    weights[used] = fitted.coef_[0] / spread[used]
    return float(fitted.intercept_[0]), weights


def order(
    matrix: np.ndarray,
    is_relevant: np.ndarray,
    query_id: np.ndarray,
    setting: RankerSettings,
    row_weights: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Weights of a conditional logit within queries; rows in the order of query_id.

    The probability of a relevant row is its exponential over the sum of its own and those of the irrelevant rows, which
    are weighted by ONE_IN. The loss is the weighted mean negative logarithm over the queries, plus the penalty.
    """
    spread = matrix.std(axis=0)
    used = spread > 1e-9
    scaled = (matrix[:, used] - matrix[:, used].mean(axis=0)) / spread[used]
    starts = np.flatnonzero(np.r_[True, query_id[1:] != query_id[:-1]])
    query = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(query_id)]))
    n_relevant = np.add.reduceat(is_relevant.astype(float), starts)[query]
    share = is_relevant * np.minimum(n_relevant, setting.most_counted) / np.maximum(n_relevant, 1) / len(starts)
    share *= row_weights
    sampling_weight = np.where(is_relevant, 1.0, ONE_IN)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = scaled @ weights
        odds -= np.maximum.reduceat(odds, starts)[query]
        strength = np.exp(np.maximum(odds, -500)) * sampling_weight
        negatives = np.add.reduceat(strength * ~is_relevant, starts)[query]
        each = share / (strength + negatives)
        residual = strength * np.where(is_relevant, each, np.add.reduceat(each, starts)[query]) - share
        value = share @ np.log1p(negatives / strength)
        return value + setting.penalty * weights @ weights, residual @ scaled + 2 * setting.penalty * weights

    weights = np.zeros(len(used))
    if used.any():
        weights[used] = minimize(loss, np.zeros(used.sum()), jac=True, method="L-BFGS-B").x / spread[used]
    return weights


def schema_of(columns: list[str]) -> pa.Schema:
    """Schema of the coefficients."""
    keys = [("month", pa.date32()), ("kind", pa.string()), ("model", pa.string()), ("cost_no", pa.int32())]
    return pa.schema([*keys, ("intercept", pa.float64()), *((f"w_{name}", pa.float64()) for name in columns)])
