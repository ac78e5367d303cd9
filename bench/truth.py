"""Scores on the simulator's truth instead of the registrations, of which some are wrong: stages, intervals, births.

For test users with exactly one child, in the six months of the evaluation window. Intervals and births are those of the
published filter, for registered and unregistered users alike.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from harness import dbt, queries

from life_stage.calibration import calibration_error


def error_of_mean(values: np.ndarray, user: np.ndarray) -> float:
    """Standard error of the mean, clustered by user."""
    sums, counts = np.bincount(user, weights=values), np.bincount(user)
    residual = (sums - values.mean() * counts)[counts > 0]
    return float(np.sqrt((residual**2).sum() * len(residual) / max(len(residual) - 1, 1)) / len(values))


def scores_of(rows: pd.DataFrame, probability: np.ndarray, stages: list[str]) -> dict[str, float]:
    """Scores of probabilities (rows x stages) against true_stage, with standard errors over users."""
    stage, user = rows["true_stage"].map(stages.index).to_numpy(), pd.factorize(rows["user_id"])[0]
    right = (probability.argmax(axis=1) == stage) * 1.0
    loss = -np.log(np.maximum(probability[np.arange(len(stage)), stage], 1e-12))
    recall = {name: right[stage == s].mean() for s, name in enumerate(stages) if (stage == s).any()}
    return {
        "n_user_months": len(rows),
        "accuracy": right.mean(),
        "accuracy_error": error_of_mean(right, user),
        "macro_recall": np.mean(list(recall.values())),
        "log_loss": loss.mean(),
        "log_loss_error": error_of_mean(loss, user),
        "calibration_error": calibration_error(probability, stage),
        **{f"recall_{name}": value for name, value in recall.items()},
    }


@contextmanager
def with_truth(source: Path, warehouse: Path, read_only: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a warehouse with the table only_children: users with one child, and its birthday."""
    with duckdb.connect(str(warehouse), read_only=read_only) as connection:
        connection.execute(queries("truth", source=source)["only children"])
        yield connection


def stages_of(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the stages in their order."""
    return [stage for (stage,) in connection.execute("select stage from stages order by stage_no").fetchall()]


def scores_on_truth(connection: duckdb.DuckDBPyConnection) -> dict[str, pd.DataFrame]:
    """Tables `truth` (one row per method), `intervals` (per stage and band of active months), `births`."""
    stages = stages_of(connection)
    sql, p = queries("truth", stages=stages), [f"p_{stage}" for stage in stages]
    truth = [
        {"method": method, **scores_of(rows, rows[p].to_numpy(), stages)}
        for method, rows in connection.sql(sql["predicted"]).df().groupby("method")
    ]
    connection.execute(sql["published"])
    return {"truth": pd.DataFrame(truth)} | {name: connection.sql(sql[name]).df() for name in ("intervals", "births")}


def confirmed_births(source: Path, warehouse: Path, **variables: object) -> pd.DataFrame:
    """Share of the once expected births that are confirmed within six months, for births and for losses; as births().

    The losses are made up in a copy of the warehouse.
    """
    sql, copy = queries("truth", source=source), warehouse.with_name(f"{warehouse.stem}_losses.duckdb")
    shutil.copy(warehouse, copy)
    with with_truth(source, copy, read_only=False) as connection:
        of_births = connection.sql(sql["confirmed"]).fetchall()[0][0]
        connection.execute(sql["losses"])
    dbt(source, copy.stem, "run", "--select", "birth_month_filter", **variables)
    with with_truth(source, copy) as connection:
        of_losses = connection.sql(sql["confirmed"]).fetchall()[0][0]
    copy.unlink()
    figure = [f"{of}, if once expected, confirmed within six months" for of in ("births", "losses (made up)")]
    return pd.DataFrame({"figure": figure, "share": [of_births, of_losses]})
