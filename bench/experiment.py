"""Published protocol on simulated shoppers: make experiment writes docs/results.md from it.

14,000 simulated users per seed: half for training, 15 % for validation, and the rest for testing on the six newest
months if they registered exactly one child. Figures are those of the evaluation tables, plus the oracle upper bound.
"""

import sys
from pathlib import Path

import duckdb
import households
import numpy as np
import pandas as pd
import results_page
from held_out import error_of_mean
from measuring import build, demo_source, keep
from oracle_bound import oracle_probabilities
from truth import ONLY_CHILDREN, PREDICTED, confirmed_births, scores_of, scores_on_truth

SEEDS = (1, 2, 3)
VARIABLES = {"train_share": 0.5, "validation_share": 0.15}
TABLES = {
    "accuracy": "select * exclude (is_suppressed) from stage_accuracy where cohort = 'all' or period = 'all'",
    "gain": "select * exclude (is_suppressed) from gain_over_baseline where cohort = 'all' or period = 'all'",
    "recall": "from stage_recall where method in ('memory_less', 'dynamic_fusion_cold', 'birth_month_filter')",
    "confusion": """
        select * exclude (n_users, is_suppressed) from stage_confusion where method = 'birth_month_filter'
    """,
    "calibration": """
        select * exclude (n_users, is_suppressed) from stage_calibration
        where method in ('memory_less', 'dynamic_fusion', 'birth_month_filter')
    """,
    # Training users before the window, and test users in the window.
    "shares": """
        select 'training' as part, stage, count(*) as n_user_months
        from training_rows join stages on age_months >= from_month and age_months < to_month
        where split = 'train' and is_active and month < (select min(month) from evaluation_window) group by stage
        union all
        select 'test', true_stage, count(*) from stage_predictions where method = 'prior' group by true_stage
    """,
    "users": """
        select 'training' as part, count(distinct user_id) as n_users from training_rows
        where split = 'train' and is_active and month < (select min(month) from evaluation_window)
        union all select 'test', count(distinct user_id) from stage_predictions
    """,
}


def measured(seed: int) -> dict:
    """Build the project on the seed's users and read its evaluation tables."""
    name = f"experiment{seed}"
    data = "demo14" if seed == 1 else f"demo14_{seed}"
    source = demo_source(data, users=14_000, months=24, through="2017-02", seed=seed, childless=0.04)
    warehouse = build(source, name, **VARIABLES)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        found = {table: connection.sql(sql).df() for table, sql in TABLES.items()}
        stages = connection.sql("select stage, from_month, to_month from stages order by stage_no").fetchall()
    found |= scores_on_truth(source, warehouse)
    of_losses = confirmed_births(source, warehouse, f"losses{seed}", **VARIABLES)
    found["births"] = pd.concat([found["births"], of_losses], ignore_index=True)
    bound, bound_on_truth = bounds_of(source, warehouse, stages)
    found["accuracy"] = pd.concat([found["accuracy"], bound], ignore_index=True)
    found["truth"] = pd.concat([found["truth"], bound_on_truth], ignore_index=True)
    tables = {name: frame.round(5).astype(object).where(frame.notna(), None) for name, frame in found.items()}
    return {
        "seed": seed,
        **{name: frame.to_dict("split", index=False) for name, frame in tables.items()},
    }


def bounds_of(source: Path, warehouse: Path, stages: list[tuple]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The oracle upper bound at the temperature of the least log-loss: rows like those of stage_accuracy, on the
    registrations, and a row like those of scores_on_truth.
    """
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        connection.execute(ONLY_CHILDREN.format(source=source))
        spine = connection.sql(
            "from stage_predictions where method = 'prior' order by user_id, month"
        ).df()  # one row per evaluated user-month
        cohorts = connection.sql("from evaluation_cohorts where cohort = 'all' or period = 'all'").df()
        true_months = connection.sql(f"select * from ({PREDICTED}) where method = 'prior'").df()
        prior = connection.sql("select avg(columns('p_.*')) from evaluation_predictions where method = 'prior'")
        prior = np.array(prior.fetchall()[0])
    truth = spine["true_stage"].map({stage: n for n, (stage, _, _) in enumerate(stages)}).to_numpy()
    edges = [stages[0][1], *(to_month for _, _, to_month in stages)]
    users = spine["user_id"].unique()
    oracle = oracle_probabilities(source, warehouse, users, spine, edges)
    # The mixture with the prior allows for wrong registrations.
    bounds = [0.97 * p + 0.03 * prior for p in oracle]
    losses = [-np.log(np.maximum(p[np.arange(len(p)), truth], 1e-12)) for p in bounds]
    best = int(np.argmin([loss.mean() for loss in losses]))
    predicted = spine.assign(is_right=bounds[best].argmax(axis=1) == truth, log_loss=losses[best])
    members = predicted.merge(cohorts, on=["user_id", "month"])
    rows = []
    for (period, cohort), group in members.groupby(["period", "cohort"]):
        user = group["user_id"].astype("category").cat.codes.to_numpy()
        row = {"method": "attainable", "period": period, "cohort": cohort, "n_users": user.max() + 1}
        row |= {"n_user_months": len(group), "accuracy": group["is_right"].mean(), "log_loss": group["log_loss"].mean()}
        row["macro_recall"] = group.groupby("true_stage")["is_right"].mean().mean()
        for name, column in {"accuracy": "is_right", "log_loss": "log_loss"}.items():
            row[f"{name}_error"] = error_of_mean(group[column].to_numpy(float), user)
        rows.append(row)
    row_of = pd.Series(np.arange(len(spine)), index=pd.MultiIndex.from_frame(spine[["user_id", "month"]]))
    index = row_of.loc[pd.MultiIndex.from_frame(true_months[["user_id", "month"]])].to_numpy()
    names = [stage for stage, _, _ in stages]
    on_truth = [scores_of(true_months, 0.997 * p[index] + 0.003 * prior, names) for p in oracle]
    best = min(on_truth, key=lambda scores: scores["log_loss"])
    return pd.DataFrame(rows), pd.DataFrame([{"method": "attainable", **best}])


def main() -> None:
    """Measure every seed, store the figures, write the page."""
    seeds = []
    for seed in SEEDS:
        seeds.append(measured(seed))
        print(f"seed {seed} of {len(SEEDS)} done", file=sys.stderr, flush=True)
    keep("experiment", {"seeds": seeds})
    households.main()
    results_page.write()


if __name__ == "__main__":
    main()
