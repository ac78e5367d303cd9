"""The rankers: logistic regressions that tell from a candidate's columns how probable it is that it is right.

A model is nothing but the columns it may read. One that reads a single source keeps that source's order and learns its
probability; the hybrids read all. Each month is told by a regression that learned from the months before it.
"""

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

KEYS = ("month", "kind", "case_no", "item_no", "is_closed", "is_judged", "is_target")
STAGE_COLUMNS = ("popular_in_stage", "popular_in_stage_place", "stage_lift", "next_stage_lift")
# From the cheapest to the dearest: on a tie the cheaper one is the champion.
SINGLE = ("popular", "popular_in_stage", "habit", "together", "alike", "linear")
MODELS = (*SINGLE, "hybrid_without_stage", "hybrid")
ONE_IN = 10  # examples that are wrong are learned from, and count for all
MIN_TARGETS = 10


def coefficients(*, examples: duckdb.DuckDBPyRelation, options: dict[str, float]) -> pa.Table:
    """One row per month, kind and model: cost_no, intercept and, for every column of the examples, w_<column>.

    examples: checkout_examples; options: `inverse_penalty` of the regression, on columns of unit variance.
    """
    columns = [name for name in examples.columns if name not in KEYS]
    known = examples.filter(f"is_closed and (is_target = 1 or (case_no * 7919 + item_no) % {ONE_IN} = 0)")
    rows = known.order("case_no, item_no").df()
    learned = []
    for month, kind in told(examples):
        before = rows[(rows["month"] < pd.Timestamp(month)) & (rows["kind"] == kind)]
        if before["is_target"].sum() < MIN_TARGETS:
            continue
        for cost_no, model in enumerate(MODELS):
            intercept, weights = fit(before, columns_of(model, kind, columns), options["inverse_penalty"])
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


def fit(rows: pd.DataFrame, columns: list[str], inverse_penalty: float) -> tuple[float, dict[str, float]]:
    """Intercept and weights by column; columns without variance have none, and a single source speaks for its items."""
    from sklearn.linear_model import LogisticRegression  # loads in a second

    matrix, is_target = rows[columns].to_numpy(float), rows["is_target"].to_numpy()
    spread = matrix.std(axis=0)
    used = spread > 1e-9
    if not used.any():  # a source that names nothing here
        return 0.0, {columns[0]: 1e-6}
    regression = LogisticRegression(C=inverse_penalty, solver="newton-cholesky", max_iter=100)
    regression.fit(matrix[:, used] / spread[used], is_target, np.where(is_target == 1, 1, ONE_IN))
    weights = dict(zip(np.array(columns)[used], regression.coef_[0] / spread[used], strict=True))
    if len(columns) == 1:
        weights = {columns[0]: max(weights.get(columns[0], 0.0), 1e-6)}
    return float(regression.intercept_[0]), weights


def schema_of(columns: list[str]) -> pa.Schema:
    """Of the coefficients, also when there are none."""
    keys = [("month", pa.date32()), ("kind", pa.string()), ("model", pa.string()), ("cost_no", pa.int32())]
    return pa.schema([*keys, ("intercept", pa.float64()), *((f"w_{name}", pa.float64()) for name in columns)])
