"""Metrics of the checkout models with bootstrap intervals, and paired comparisons of models.

A user's queries are correlated, so the bootstrap samples whole users. All models share the same samples, so the
difference of two models has a narrower interval than each model's metric.
"""

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

N_DRAWS = 500
SEED = 1
# Every metric is a ratio of two sums over queries.
METRICS = {
    "recall_at_10": ("recall_at_10", "has_relevant_items"),
    "recall_at_20": ("recall_at_20", "has_relevant_items"),
    "type_recall_at_10": ("type_recall_at_10", "has_relevant_items"),
    "next_need_recall_at_10": ("next_need_recall_at_10", "has_next_needs"),
    "map_at_10": ("precision_at_10", "has_relevant_items"),
    "ndcg_at_10": ("ndcg_at_10", "has_relevant_items"),
    "auc": ("auc", "has_relevant_items"),
    "new_item_recall_at_20": ("n_new_hits_at_20", "n_new_relevant"),
    "rmse": ("squared_error", "n_shown"),
    "exposure": ("n_shown", "n_ranks"),
    "calibration_gap": ("excess_probability", "n_shown"),
}
COMPARED = ("recall_at_10", "type_recall_at_10", "next_need_recall_at_10", "map_at_10", "ndcg_at_10", "auc")
GROUPS = ["kind", "period", "segment", "metric", "model"]
KEYS = [(name, pa.string()) for name in GROUPS]
INTERVAL = [("lowest", pa.float64()), ("highest", pa.float64())]
LEADERBOARD = pa.schema([*KEYS, ("n_queries", pa.int64()), ("n_users", pa.int64()), ("value", pa.float64()), *INTERVAL])
COMPARISONS = pa.schema(
    [
        *KEYS,
        ("other_model", pa.string()),
        ("difference", pa.float64()),
        *INTERVAL,
        ("relative_difference", pa.float64()),
    ]
)


def leaderboard(*, query_scores: duckdb.DuckDBPyRelation) -> pa.Table:
    """Rows of LEADERBOARD: every metric of every model, per evaluated month, overall, and per segment overall."""
    rows = []
    for group, queries in groups_of(query_scores.df()):
        for metric, models, value, draws in metrics_of(queries):
            counted = queries[queries[METRICS[metric][1]] > 0].groupby("model")["user_id"].agg(["size", "nunique"])
            for number in np.flatnonzero(~np.isnan(value)):
                lowest, highest = np.nanquantile(draws[:, number], [0.025, 0.975])
                n_queries, n_users = counted.loc[models[number]]
                facts = {
                    "n_queries": n_queries,
                    "n_users": n_users,
                    "value": value[number],
                    "lowest": lowest,
                    "highest": highest,
                }
                rows.append(group | {"metric": metric, "model": models[number]} | facts)
    return pa.Table.from_pylist(rows, schema=LEADERBOARD)


def comparisons(*, query_scores: duckdb.DuckDBPyRelation) -> pa.Table:
    """Rows of COMPARISONS: difference of each pair of models on the same queries."""
    rows = []
    for group, queries in groups_of(query_scores.df()):
        for metric, models, value, draws in metrics_of(queries, COMPARED):
            for one, model in enumerate(models):
                for other, other_model in enumerate(models):
                    if one != other and not np.isnan(value[[one, other]]).any():
                        pair = {"metric": metric, "model": model, "other_model": other_model}
                        rows.append(group | pair | difference(value, draws, one, other))
    return pa.Table.from_pylist(rows, schema=COMPARISONS)


def difference(value: np.ndarray, draws: np.ndarray, one: int, other: int) -> dict[str, float | None]:
    """Difference of two models' values, with its 95 % bootstrap interval."""
    lowest, highest = np.nanquantile(draws[:, one] - draws[:, other], [0.025, 0.975])
    absolute = value[one] - value[other]
    relative = absolute / value[other] if value[other] > 0 else None
    return {"difference": absolute, "lowest": lowest, "highest": highest, "relative_difference": relative}


def groups_of(scores: pd.DataFrame):
    """({kind, period, segment}, query scores): all evaluated months, each month, and the segments of all months."""
    scores = scores.sort_values(["model", "query_id"], ignore_index=True)
    for kind, all_queries in scores.groupby("kind"):
        yield {"kind": kind, "period": "all", "segment": "all"}, all_queries
        for month, queries in all_queries.groupby("month"):
            yield {"kind": kind, "period": f"{month:%Y-%m}", "segment": "all"}, queries
        for column in ("stage", "activity", "tenure"):
            for value, queries in all_queries.groupby(column):
                yield {"kind": kind, "period": "all", "segment": f"{column}={value}"}, queries


def metrics_of(queries: pd.DataFrame, metrics=tuple(METRICS)):
    """(metric, models, value by model, samples x models); NaN where the denominator is 0."""
    model, models = pd.factorize(queries["model"], sort=True)
    user, users = pd.factorize(queries["user_id"], sort=True)
    even = np.full(len(users), 1 / len(users))
    chosen = np.random.default_rng(SEED).multinomial(len(users), even, size=N_DRAWS).astype(float)

    def by_user(column: str) -> np.ndarray:
        position = user * len(models) + model
        return np.bincount(position, queries[column], len(users) * len(models)).reshape(len(users), len(models))

    for metric in metrics:
        above, below = (by_user(column) for column in METRICS[metric])
        root = np.sqrt if metric == "rmse" else np.asarray
        with np.errstate(invalid="ignore"):
            yield metric, models, root(above.sum(0) / below.sum(0)), root((chosen @ above) / (chosen @ below))
