"""Published protocol on simulated shoppers, against registrations and truth: make experiment writes docs/results.md.

Half of the users for training, 15 % for validation, the rest for testing on the six newest months if they registered
exactly one child. Figures are those of the evaluation tables, plus the oracle upper bound. QUICK=1: one small seed
"""

from pathlib import Path

import duckdb
import households
import numpy as np
import pages
import pandas as pd
from harness import N_USERS, SEEDS, WORK, build, demo_source, keep, progress, queries
from truth import confirmed_births, scores_of, scores_on_truth, with_truth

from life_stage_demo.oracle import stage_probabilities

VARIABLES = {"train_share": 0.5, "validation_share": 0.15}


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


def main() -> None:
    """Measure every seed, store the figures, write the page."""
    seeds = []
    for seed in SEEDS:
        seeds.append(measured(seed))
        progress(f"seed {seed} of {len(SEEDS)} done")
    keep("experiment", {"seeds": seeds})
    households.main()
    pages.write()


if __name__ == "__main__":
    main()
