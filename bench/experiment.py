"""Published protocol on simulated shoppers, against registrations and the simulator's truth: make experiment

Half of the users for training, 15 % for validation, the rest for testing on the six newest months if they registered
exactly one child. Figures are those of the evaluation tables, those of users with one child against the truth, and the
oracle upper bound. Intervals and births are those of the published filter, for registered and unregistered users alike.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pages
import pandas as pd
from harness import N_USERS, SEEDS, WORK, build, dbt, demo_source, keep, progress, queries

from life_stage.readout.calibration import calibration_error
from life_stage_demo.oracle import stage_probabilities

VARIABLES = {"training_share": 0.5, "training_validation_share": 0.15}


def source_of(seed: int) -> Path:
    """The simulated shoppers of a seed."""
    name = f"shoppers_{N_USERS}_{seed}"
    return demo_source(name, users=N_USERS, months=24, through="2017-02", seed=seed, childless_share=0.04)


def warehouse_of(seed: int, rebuild: bool = False) -> Path:
    """The warehouse of a seed, built if missing."""
    warehouse = WORK / f"experiment_{N_USERS}_{seed}.duckdb"
    return build(source_of(seed), warehouse.stem, **VARIABLES) if rebuild or not warehouse.exists() else warehouse


def measured(seed: int) -> dict:
    """Build the project on the seed's users and read its evaluation tables."""
    source, warehouse = source_of(seed), warehouse_of(seed, rebuild=True)
    with with_truth(source, warehouse) as connection:
        found = {table: connection.sql(sql).df() for table, sql in queries("experiment").items()}
        found |= scores_on_truth(connection)
        bounds = bounds_of(source, connection)
    of_losses = confirmed_births(source, warehouse, **VARIABLES)
    for name, rows in {"births": of_losses, **bounds}.items():
        found[name] = pd.concat([found[name], rows], ignore_index=True)
    tables = {name: frame.round(5).astype(object).where(frame.notna(), None) for name, frame in found.items()}
    return {"seed": seed, **{name: frame.to_dict("split", index=False) for name, frame in tables.items()}}


def bounds_of(source: Path, connection: duckdb.DuckDBPyConnection) -> dict[str, pd.DataFrame]:
    """The oracle upper bound: rows like those of stage_accuracy, on registrations, and like scores_on_truth."""
    stages = connection.sql("select stage, from_month, to_month from stages order by stage_no").fetchall()
    names, edges = [name for name, _, _ in stages], [stages[0][1], *(to_month for _, _, to_month in stages)]
    # One row per evaluated user-month.
    spine = connection.sql("from stage_predictions where method = 'prior' order by user_id, month").df()
    on_truth = connection.sql(queries("truth", source=source)["predicted"]).filter("method = 'prior'").df()
    prior = connection.sql("select avg(columns('p_.*')) from evaluation_predictions where method = 'prior'")
    prior = np.array(prior.fetchall()[0])
    oracle = stage_probabilities(source, connection, spine, edges)

    def scores(rows: pd.DataFrame, of: list[np.ndarray], label_noise: float) -> list[dict]:
        """Scores by period at the temperature of the least log-loss, mixed with the prior to allow for label noise."""
        mixed = [(1 - label_noise) * p + label_noise * prior for p in of]
        best = min(mixed, key=lambda p: scores_of(rows, p, names)["log_loss"])
        month = rows["month"].dt.strftime("%Y-%m")
        periods = {"all": month.notna(), **{period: month == period for period in sorted(month.unique())}}
        return [
            {"period": period, **scores_of(rows[chosen], best[chosen], names)} for period, chosen in periods.items()
        ]

    shared = ["user_id", "month"]
    index = pd.MultiIndex.from_frame(spine[shared]).get_indexer(pd.MultiIndex.from_frame(on_truth[shared]))
    accuracy = pd.DataFrame(scores(spine, oracle, 0.03)).assign(method="attainable", cohort="all")
    truth = pd.DataFrame(scores(on_truth, [p[index] for p in oracle], 0.003)[:1]).assign(method="attainable")
    return {"accuracy": accuracy.drop(columns="calibration_error"), "truth": truth.drop(columns="period")}


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


def main() -> None:
    """Measure every seed, store the figures, write the page."""
    seeds = []
    for seed in SEEDS:
        seeds.append(measured(seed))
        progress(f"seed {seed} of {len(SEEDS)} done")
    keep("experiment", {"seeds": seeds})
    pages.write()


if __name__ == "__main__":
    main()
