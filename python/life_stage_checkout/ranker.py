"""Rankers: logistic regressions of a candidate's relevance on its columns in checkout_examples.

A model is the set of columns it uses and, for hybrid_even, weights of the rows. A model of a single generator keeps the
generator's order, gp_topfreq that of FIXED_WEIGHTS; the hybrids use all generators: a conditional logit within each
query ranks the candidates, and a logistic regression over all queries gives the probability. Each month is scored by
regressions trained on the months before it.

The first items of a query are selected for their high scores, so their probabilities are too high. Platt scaling
corrects them: slope and offset of the log-odds are fitted to the first items of each training month, which a model of
the other training months predicts. The order of the items stays.
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
MODELS = ("popular", "popular_in_stage", "habit", "gp_topfreq", "together", "alike", "linear")
MODELS += ("hybrid_without_stage", "hybrid")
# Weights up to a common factor that is fitted. GP-TopFreq orders by the shopper's baskets with the item, which outweigh
# popularity up to 700 baskets of the shopper; the weights of its generators order ties only.
FIXED_WEIGHTS = {"gp_topfreq": {"repeat_share": 1e4, "popularity": 1.0, "habit": 1e-5, "popular": 1e-6}}
DEEP_COLUMNS = ("deep", "deep_rank_score")  # not used by the hybrids, because recommend() has no network
ONE_IN = 10  # sampling rate of irrelevant examples in checkout_training_examples, which are weighted by it
MIN_RELEVANT = 10
N_FIRST = 10  # items of a query that are served, so probabilities are calibrated for them
MIN_WEIGHT = 1e-6  # positive, so that a single generator keeps its order
MIN_SLOPE = 0.1  # positive, so that calibration keeps the order of the items


class RankerSettings(NamedTuple):
    """Settings of the conditional logit; `python -m life_stage_checkout.tuning` searches them.

    penalty: of the squared weights, on columns of unit variance; most_counted: maximum number of relevant items that a
    query is weighted by.
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
            used, training = columns_of(model, kind, columns), before if model == "deep" else standard
            intercept, weights = fit_calibrated(training, used, setting, model)
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
    """The columns that a model uses: those of one generator, of FIXED_WEIGHTS, or all."""
    if model.startswith("hybrid"):
        excluded = DEEP_COLUMNS + STAGE_COLUMNS if model == "hybrid_without_stage" else DEEP_COLUMNS
        return [name for name in columns if name not in excluded]
    if model in FIXED_WEIGHTS:
        return list(FIXED_WEIGHTS[model])
    context = "cart" if kind == "cart" else "history"
    return [model if model in columns else f"{model}_{context}"]


def even(rows: pd.DataFrame) -> np.ndarray:
    """Row weights that give every stage the same total; their mean over the queries is 1."""
    n_queries = rows.groupby("stage")["query_id"].nunique()
    return rows["stage"].map(n_queries.mean() / n_queries).to_numpy()


def fit_calibrated(
    rows: pd.DataFrame, columns: list[str], setting: RankerSettings, model: str
) -> tuple[float, dict[str, float]]:
    """Intercept and weights by column, with calibrated probabilities; those of fit() with a single training month.

    Every month is predicted by a model of the other months. rows: in the order of query_id.
    """

    def fit_months(part: pd.DataFrame) -> tuple[float, dict[str, float]]:
        row_weights = even(part) if model == "hybrid_even" else 1.0
        return fit(part, columns, setting, row_weights, FIXED_WEIGHTS.get(model))

    intercept, weights = fit_months(rows)
    generators = [name for name in columns if len(columns) == 1 or f"{name}_rank_score" in rows]
    candidates, held_out = rows[(rows[generators] > 0).any(axis=1)], []
    for month in rows["month"].unique():
        others = rows[rows["month"] != month]
        if others["is_relevant"].sum() < MIN_RELEVANT:
            return intercept, weights
        constant, factors = fit_months(others)
        part = candidates[candidates["month"] == month]
        log_odds = constant + part[columns].to_numpy(float) @ [factors[name] for name in columns]
        held_out.append(part[["query_id", "is_relevant"]].assign(log_odds=log_odds))
    offset, slope = calibration(*pd.concat(held_out)[["log_odds", "is_relevant", "query_id"]].to_numpy(float).T)
    lowest = MIN_WEIGHT if len(columns) == 1 else -np.inf
    return offset + slope * intercept, {name: max(slope * weight, lowest) for name, weight in weights.items()}


def calibration(log_odds: np.ndarray, is_relevant: np.ndarray, query_id: np.ndarray) -> tuple[float, float]:
    """Offset and slope of Platt scaling: least log-loss of the first items of the queries.

    log_odds: held-out predictions, in the order of query_id. (0, 1) with fewer than MIN_RELEVANT relevant first items.
    """
    is_first = n_before(log_odds, is_relevant, query_id) < N_FIRST
    inputs, is_relevant = np.column_stack([np.ones(is_first.sum()), log_odds[is_first]]), is_relevant[is_first]
    if is_relevant.sum() < MIN_RELEVANT:
        return 0.0, 1.0
    share = np.where(is_relevant == 1, 1.0, ONE_IN)
    share /= share.sum()

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        found = inputs @ parameters
        residual = share * (1 / (1 + np.exp(-found)) - is_relevant)
        return share @ (np.logaddexp(0, found) - is_relevant * found), residual @ inputs

    bounds = [(None, None), (MIN_SLOPE, None)]
    offset, slope = minimize(loss, [0.0, 1.0], jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(offset), float(slope)


def n_before(log_odds: np.ndarray, is_relevant: np.ndarray, query_id: np.ndarray) -> np.ndarray:
    """Estimated number of irrelevant items before each item of its query.

    A query has too few sampled irrelevant items. So log-odds are standardised by those of the query, and compared with
    those of all queries.
    """
    starts = np.flatnonzero(np.r_[True, query_id[1:] != query_id[:-1]])
    query = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(query_id)]))
    is_irrelevant = is_relevant == 0
    n = np.bincount(query, is_irrelevant)
    mean = np.bincount(query, log_odds * is_irrelevant) / np.maximum(n, 1)
    spread = np.sqrt(np.bincount(query, (log_odds - mean[query]) ** 2 * is_irrelevant) / np.maximum(n - 1, 1))
    typical = spread[n > 1].mean() if (n > 1).any() else 1.0
    score = (log_odds - mean[query]) / np.maximum(np.where(n > 1, spread, typical), 1e-9)[query]
    known = np.sort(score[is_irrelevant])
    share_before = 1 - np.searchsorted(known, score, side="right") / max(len(known), 1)
    return share_before * n[query] * ONE_IN


def fit(
    rows: pd.DataFrame,
    columns: list[str],
    setting: RankerSettings,
    row_weights: np.ndarray | float = 1.0,
    fixed: dict[str, float] | None = None,
) -> tuple[float, dict[str, float]]:
    """Intercept and weights by column; 0 without variance, positive for a single generator.

    setting: of the conditional logit, which runs first if there are several columns. fixed: weights of the columns up
    to a common factor.
    """
    matrix, is_relevant = rows[columns].to_numpy(float), rows["is_relevant"].to_numpy() == 1
    if fixed:
        weights = np.array([fixed[name] for name in columns])
        intercept, (factor,) = regression((matrix @ weights)[:, None], is_relevant, row_weights)
        weights *= max(factor, MIN_WEIGHT)
    elif len(columns) == 1:
        intercept, weights = regression(matrix, is_relevant, row_weights)
        weights = np.maximum(weights, MIN_WEIGHT) if len(columns) == 1 else weights
    else:
        orders = np.array([name not in QUERY_COLUMNS for name in columns])
        weights = np.zeros(len(columns))
        weights[orders] = order(matrix[:, orders], is_relevant, rows["query_id"].to_numpy(), setting, row_weights)
        scores = np.column_stack([matrix @ weights, matrix[:, ~orders]])
        intercept, (factor, *rest) = regression(scores, is_relevant, row_weights)
        weights[orders] *= max(factor, MIN_WEIGHT)
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
