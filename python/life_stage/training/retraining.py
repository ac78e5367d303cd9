"""Retraining: decides when a new model is due and collects its training data. The training is in training.py."""

import sys
from datetime import date
from functools import partial

import duckdb
import pyarrow as pa

from life_stage.filtering.birth_months import Ages
from life_stage.training.regression import NotTrainedError

SCHEMA = pa.schema(
    [
        ("model_version", pa.string()),
        ("trained_through", pa.date32()),
        ("model_name", pa.string()),
        ("parameter_type", pa.string()),
        ("feature", pa.string()),
        ("age_bin", pa.string()),
        ("value", pa.float64()),
    ]
)
Relation = duckdb.DuckDBPyRelation


def train_if_due(
    *,
    calendar: Relation,
    age_bins: Relation,
    stages: Relation,
    rows: Relation,
    matrix: Relation,
    vocabulary: Relation,
    known: Relation | None,
    options: dict[str, int | bool],
    retraining_triggers: Relation | None = None,
) -> pa.Table:
    """Rows of a new model through the last closed month; no rows if none is due or the training data is too small.

    options: `min_users`, `every_months`, `fine_tuning`, `tune_penalties`, numbers and booleans.
    retraining_triggers: the table; one row causes an early model, at most one per month.
    """
    last_closed = newest_date(calendar.filter("is_closed"), "month")
    newest = newest_date(known, "trained_through") if known is not None else None
    if not is_due(last_closed, newest, options["every_months"]):
        may_be_early = retraining_triggers is not None and is_due(last_closed, newest, min(options["every_months"], 1))
        triggers = describe_triggers(retraining_triggers) if may_be_early else []
        if not triggers:
            return SCHEMA.empty_table()
        log_progress("stage_coefficients", f"early retraining: {', '.join(triggers)}")
    from life_stage.training.examples import TrainingData
    from life_stage.training.training import Options, train  # scikit-learn takes over a second to load

    ages = read_age_divisions(age_bins, stages)
    penalties = {} if options["tune_penalties"] or newest is None else penalties_of(known, newest)
    previous = known.filter(f"trained_through = date '{newest}'").df() if newest else None
    training_options = Options(options["min_users"], options["fine_tuning"], **penalties)
    try:
        model = train(
            TrainingData.read(rows, matrix, vocabulary),
            ages,
            last_closed,
            training_options,
            partial(log_progress, "stage_coefficients"),
            previous,
        )
    except NotTrainedError as error:
        log_progress(
            "stage_coefficients", f"LS-ML-002 no new model: {error}; the newest existing model, if any, stays in use"
        )
        return SCHEMA.empty_table()
    return pa.Table.from_pandas(model, schema=SCHEMA, preserve_index=False)


def log_progress(table: str, text: str) -> None:
    """Print one line of progress."""
    print(f"    {table}: {text}", file=sys.stderr, flush=True)


def read_age_divisions(age_bins: Relation, stages: Relation) -> Ages:
    """Ages from the tables age_bins and stages."""
    return Ages(*division(age_bins, "age_bin", "bin_no"), *division(stages, "stage", "stage_no"))


def division(relation: Relation, name: str, order: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and edges of a division of age, from rows with from_month and to_month."""
    found = relation.order(order).project(f"{name}, from_month, to_month").fetchall()
    return tuple(row[0] for row in found), (found[0][1], *(row[2] for row in found))


def penalties_of(known: Relation, trained_through: date) -> dict[str, float]:
    """Penalties of the newest model."""
    settings = known.filter(f"parameter_type = 'setting' and trained_through = date '{trained_through}'")
    found = dict(settings.order("model_version").project("feature, value").fetchall())
    return {name: found[name] for name in ("inverse_penalty", "anchor_inverse_penalty") if name in found}


def describe_triggers(triggers: Relation) -> list[str]:
    """The rows of retraining_triggers as text."""
    rows = triggers.order("reason, month, measure").project("reason, measure, month, value, threshold").fetchall()
    return [
        f"{reason} of {measure} in {month:%Y-%m} is {value:.3f}, limit {limit:.3f}"
        for reason, measure, month, value, limit in rows
    ]


def newest_date(relation: Relation, column: str) -> date | None:
    """The latest date of a column; None without rows."""
    return relation.aggregate(f"max({column})").fetchall()[0][0]


def is_due(last_closed: date | None, newest: date | None, every_months: int) -> bool:
    """True when a model through `last_closed` is due, given the newest model's month (None: no model)."""
    if last_closed is None:
        return False
    if newest is None:
        return True
    months = (last_closed.year - newest.year) * 12 + last_closed.month - newest.month
    return 0 < every_months <= months
