"""Summary of the last run: its outputs, their paths and the headline accuracy. python -m life_stage.summary."""

import sys
from pathlib import Path

import duckdb
import pandas as pd

from life_stage import paths
from life_stage.publishing import read_manifest

ACCURACY = """
    with newest as (from stage_accuracy where cohort = 'all' and period <> 'all' qualify period = max(period) over ())
    select method, newest.accuracy, months.accuracy, newest.accuracy_error, months.accuracy_error, newest.n_users
    from newest join stage_accuracy as months using (method) where months.cohort = 'all' and months.period = 'all'
"""
SIMULATOR = "life_stage_demo.generate"


def summary(warehouse: Path, published: Path, source: Path) -> str:
    """The closing words of a run, from its warehouse (read only) and its published marts."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        run = connection.sql("from model_runs order by started_at desc, run_id limit 1").df().iloc[0]
        accuracy = {method: percents for method, *percents in connection.sql(ACCURACY).fetchall()}
        n_rows, n_rejected, n_repeated = connection.sql(
            "select sum(n_rows), sum(n_rejected), sum(n_duplicates) from action_months"
        ).fetchall()[0]
    lines = [
        f"Warehouse   {warehouse} (model_runs, month_calendar, stg_rejected_actions, ...)",
        f"Rows        {n_rows or 0:,.0f} of {source}, {n_rejected or 0:,.0f} set aside, {n_repeated or 0:,.0f} repeats",
    ]
    if run["n_users"] == 0 and run["n_users_left_out"] == 0:
        return "\n".join([*lines, "Stages      none: no model could be trained (LS-ML-001); nothing was published"])
    month = f"{run['through_month']:%Y-%m}"
    lines.append(
        f"Stages      {told(run['n_users'])} users have one as of {month}, {told(run['n_users_left_out'])} are left out"
    )
    if accuracy:
        right = {
            method: f"{100 * newest:.0f} % ({100 * all_of:.0f} %)" for method, (newest, all_of, *_) in accuracy.items()
        }
        *_, error, error_of_all, n_users = accuracy["birth_month_filter"]
        lines.append(
            f"Accuracy    birth-month filter {right['birth_month_filter']} of {n_users:,} test users"
            f"{simulated(source)} in {month} (in all months evaluated), standard error {100 * error:.0f}"
            f" ({100 * error_of_all:.0f}) points; without memory {right['memory_less']},"
            f" without log_likelihood {right['prior']}"
        )
    manifest = read_manifest(published)
    if manifest is None:
        return "\n".join([*lines, "Published   nothing"])
    lines.append(f"Published   {published} by run {manifest['run_id'][:8]}:")
    for name, facts in manifest["files"].items():
        also = f", and as {name}.csv" if "csv_bytes" in facts else ""
        lines.append(f"              {name}.parquet  {facts['n_rows']:,} rows{also}")
    lines.append("              life_stage.duckdb  the same as views, for any DuckDB since 1.0")
    return "\n".join(lines)


def told(n_users: float) -> str:
    """A count of users, which is missing where it is of few."""
    return "few" if pd.isna(n_users) else f"{n_users:,.0f}"


def simulated(source: Path) -> str:
    """A word of warning where the shoppers are made up."""
    made_by = source / "made_by.json"
    return ", who are simulated," if made_by.exists() and SIMULATOR in made_by.read_text() else ""


if __name__ == "__main__":
    paths = {
        "warehouse": paths.warehouse(),
        "published": paths.published(),
        "source": paths.source(),
    }
    try:
        print(summary(**paths))
    except duckdb.Error as error:
        sys.exit(f"LS-SUM-001 {paths['warehouse']} cannot be read: {error}")
