"""Deciding whether a new model is due, and what it is trained on; the fit itself is in training.py."""

from datetime import date

import duckdb
import pandas as pd
import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("model_version", pa.string()),
        ("trained_through", pa.date32()),
        ("kind", pa.string()),
        ("feature", pa.string()),
        ("age_bin", pa.string()),
        ("value", pa.float64()),
    ]
)


def new_model(
    *,
    ledger: duckdb.DuckDBPyRelation,
    age_bins: duckdb.DuckDBPyRelation,
    rows: duckdb.DuckDBPyRelation,
    features: duckdb.DuckDBPyRelation,
    known: duckdb.DuckDBPyRelation | None,
    options: dict[str, str],
) -> pa.Table:
    """Rows of a new model through the last closed month, or no rows: none is due, or too few users are registered.

    options: `min_training_users` and `retrain_every_months`.
    """
    last_closed = newest_date(ledger.filter("is_closed"), "month")
    newest = newest_date(known, "trained_through") if known is not None else None
    model = pd.DataFrame(columns=SCHEMA.names)
    if is_due(last_closed, newest, int(options["retrain_every_months"])):
        from life_stage.training import Settings, train  # scikit-learn loads in over a second: only when needed

        settings = Settings(
            age_bins=tuple(name for (name,) in age_bins.order("bin_no").project("age_bin").fetchall()),
            min_training_users=int(options["min_training_users"]),
        )
        model = train(rows.df(), features.df(), last_closed, settings)
    return pa.Table.from_pandas(model, schema=SCHEMA, preserve_index=False)


def newest_date(relation: duckdb.DuckDBPyRelation, column: str) -> date | None:
    """The largest date of a column; None without rows."""
    return relation.aggregate(f"max({column})").fetchall()[0][0]


def is_due(last_closed: date | None, newest: date | None, every_months: int) -> bool:
    """Whether a model through `last_closed` is wanted, given the newest one's month (None: there is none)."""
    if last_closed is None:
        return False
    if newest is None:
        return True
    months = (last_closed.year - newest.year) * 12 + last_closed.month - newest.month
    return 0 < every_months <= months
