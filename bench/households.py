"""Published rows of everybody against the simulator's truth, for shops with few and with many childless shoppers.

A third of the users have hidden registrations and are scored, by models half a year old. python bench/households.py
"""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from experiment import scores_of, stages_of
from harness import N_USERS, SEEDS, build, dbt, demo_source, keep, progress, queries

SHARES = (0.04, 0.5)
TRAINED_THROUGH, NEWEST = "2016-08", "2017-02"


def hidden_source(seed: int, share: float, registered_share: float = 1) -> Path:
    """A simulated source without the registrations of the scored users, and with a share of the others."""
    name = f"households_{N_USERS}_{seed}_{int(100 * share)}" + f"_{registered_share}" * (registered_share < 1)
    source = demo_source(name, users=N_USERS, months=24, through=NEWEST, seed=seed, childless_share=share)
    registered = source / "truth" / "registered.parquet"
    if not registered.exists():
        (source / "children.parquet").rename(registered)
        sql = queries("households", source=source, registered_share=registered_share)
        duckdb.execute(sql["registered and not hidden"])
    return source


def measured(seed: int, share: float, registered_share: float = 1) -> dict[str, object]:
    """Figures and groups of one source."""
    source = hidden_source(seed, share, registered_share)
    warehouse = build(source, source.name, checkout_months=0, through_month=TRAINED_THROUGH)
    dbt(source, source.name, "build", "--exclude-resource-type", "test", checkout_months=0, training_every_months=0)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        stages = stages_of(connection)
        sql = queries(
            "households",
            source=source,
            registered_share=registered_share,
            trained_through=TRAINED_THROUGH,
            stages=stages,
        )
        del sql["registered and not hidden"]
        connection.execute(sql.pop("population"))
        groups = connection.sql(sql.pop("groups")).df()
        of_one_child = one_child(connection.sql(sql.pop("one child")).df(), stages)
        figures = {name: connection.sql(query).fetchall()[0][0] for name, query in sql.items()} | of_one_child
    return {
        "seed": seed,
        "childless_share": share,
        "figures": {name: round(float(value), 4) for name, value in figures.items()},
        "groups": groups.round(4).to_dict("split", index=False),
    }


def one_child(rows: pd.DataFrame, stages: list[str]) -> dict[str, float]:
    """Accuracy, macro recall and log-loss of the first child's stage, of users with one child."""
    p = np.maximum(rows[[f"p_{stage}" for stage in stages]].to_numpy(), 1e-6)
    scores = scores_of(rows, p / p.sum(axis=1, keepdims=True), stages)
    names = {"accuracy": "accuracy", "macro_recall": "macro recall", "log_loss": "log-loss"}
    return {f"one-child {shown}": scores[name] for name, shown in names.items()}


def main() -> None:
    """Measure every seed and share, and store the figures."""
    found = []
    for share in SHARES:
        for seed in SEEDS:
            found.append(measured(seed, share))
            progress(f"households: {len(found)} of {len(SHARES) * len(SEEDS)} done")
    keep("households", {"runs": found})
    print(pd.DataFrame([{"share": run["childless_share"], **run["figures"]} for run in found]).T.to_string())


if __name__ == "__main__":
    main()
