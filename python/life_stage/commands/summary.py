"""Summary of the last run: warehouse, row counts, stages, accuracy, published files."""

import glob
import sys
from collections import Counter
from pathlib import Path

import duckdb
import pandas as pd

from life_stage import paths
from life_stage.paths import mart_paths, read_manifest, shown, sql_literal

RUN = "from model_runs where status = 'succeeded' order by started_at desc, run_id limit 1"
ACCURACY = """
    with newest as (from stage_accuracy where cohort = 'all' and period <> 'all' qualify period = max(period) over ())
    select
        method, newest.accuracy, months.accuracy, newest.lowest_accuracy, newest.highest_accuracy,
        months.lowest_accuracy, months.highest_accuracy, newest.n_users
    from newest join stage_accuracy as months using (method) where months.cohort = 'all' and months.period = 'all'
"""
HOUSEHOLDS = """
    select
        right_share, lowest_right_share, highest_right_share, recall, lowest_recall, highest_recall, n_users
    from household_accuracy
    where group_name = 'all' and not is_suppressed and n_rows > 0
"""
CHILDLESS = """
    select childless_share from household_weights
    where model_version = (select max(model_version) from user_stage_months) and n_unregistered > 0 limit 1
"""
ON_TRUTH = """
    with children as (
        select cast(user_id as string) as user_id, birth_date from read_parquet({truth})
    ),
    rows as (
        select user_stages.user_id, source, exists (
            from children where children.user_id = user_stages.user_id
            and datediff('month', birth_date, month) between from_month and to_month - 1
        ) as is_right
        from user_stages join stages using (stage)
    ),
    childless as (
        select user_id from user_months where user_id not in (select user_id from children) group by user_id
    )
    select
        avg(cast(is_right as integer)),
        avg(case when source = 'inferred' then cast(is_right as integer) end),
        (select avg(cast(user_id in (select user_id from rows) as integer)) from childless)
    from rows
"""
CHECKS = """
    select
        (select count(*) from delivery_checks), (select count(*) from delivery_checks where is_wrong),
        (select sum(n_conflicting) from action_months), (select count(distinct user_id) from implausible_users),
        (select sum(n_rows) from source_row_counts where action = 'ignored'),
        (select count(*) from stg_child_rows where reason in ('superseded', 'children_too_close'))
"""
SIMULATOR = "life_stage_demo.generate"
LISTED = ("user_stages", "user_stage_months", "stage_events", "stage_reasons", "stage_outlook")


def summary(warehouse: Path, published: Path, source: Path) -> str:
    """The last lines of a run's output, from its warehouse (read only) and its published marts."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        run = connection.sql(RUN).df().iloc[0]
        accuracy = {method: figures for method, *figures in connection.sql(ACCURACY).fetchall()}
        households = connection.sql(HOUSEHOLDS).fetchall()
        childless = connection.sql(CHILDLESS).fetchall()
        truth = source / "truth" / "children.parquet"
        has_truth = is_simulated(source) and truth.exists()
        on_truth = (
            connection.sql(ON_TRUTH.format(truth=sql_literal(glob.escape(str(truth))))).fetchall() if has_truth else []
        )
        checks = connection.sql(CHECKS).fetchall()[0]
        n_rows, n_rejected, n_duplicates = connection.sql(
            "select sum(n_rows), sum(n_rejected), sum(n_duplicates) from action_months"
        ).fetchall()[0]
    lines = [
        f"Warehouse   {shown(warehouse)} (model_runs, month_calendar, stg_rejected_actions, ...)",
        f"Rows        {n_rows or 0:,.0f} of {shown(source)}, {n_rejected or 0:,.0f} rejected,"
        f" {n_duplicates or 0:,.0f} duplicates",
        checks_line(*checks),
    ]
    if run["n_users"] == 0 and run["n_users_left_out"] == 0:
        lines.append("Stages      none: no model could be trained (LS-ML-001)")
        return "\n".join([*lines, *published_lines(published)])
    month = f"{run['through_month']:%Y-%m}"
    lines.append(
        f"Stages      {user_count(run['n_users'])} users have a stage as of {month},"
        f" {user_count(run['n_users_left_out'])} have none"
    )
    simulated = "simulated " * is_simulated(source)
    if on_truth and on_truth[0][0] is not None:
        right, right_of_inferred, told = on_truth[0]
        lines += [
            f"Right       {percent(right)} of the rows of user_stages, {percent(right_of_inferred)} of the inferred"
            " ones (by the simulator's truth);",
            f"            {100 * told:.1f} % of the shoppers without a child have a row",
        ]
    if households:
        right, *right_limits, recall, lowest_recall, highest_recall, n_users = households[0]
        lines += [
            f"Households  {percent(right)} of the rows right, {percent(recall)} of the children found: by behaviour"
            " alone,",
            f"            of {n_users:,} held-out {simulated}households in all evaluated months; 95 % intervals"
            f" {between(*right_limits)} and {between(lowest_recall, highest_recall)}",
        ]
    if childless:
        lines.append(
            f"Childless   {percent(childless[0][0])} of the users without a registration have no child, as estimated"
        )
    if accuracy:
        percents = {
            method: f"{100 * newest:.0f} % ({100 * all_months:.0f} %)"
            for method, (newest, all_months, *_) in accuracy.items()
        }
        *_, low, high, low_all_months, high_all_months, n_users = accuracy["birth_month_filter"]
        lines += [
            f"One child   accuracy: birth-month filter {percents['birth_month_filter']},"
            f" stateless baseline {percents['memory_less']}, majority class {percents['prior']}",
            f"            of {n_users:,} held-out {simulated}users in {month}"
            f" (in all evaluated months); 95 % interval {between(low, high)}"
            f" ({between(low_all_months, high_all_months)})",
        ]
    return "\n".join([*lines, *published_lines(published)])


def published_lines(published: Path) -> list[str]:
    """What is published, and by which run."""
    manifest = read_manifest(published)
    if manifest is None:
        return ["Published   nothing"]
    return [f"Published   {shown(published)} by run {manifest['run_id'][:8]}:", *list_of(manifest)]


def list_of(manifest: dict) -> list[str]:
    """The most important published files with their rows, and the number of the others."""
    rows = Counter()
    for file, facts in manifest["files"].items():
        rows[file.split("/")[0]] += facts["n_rows"]
    files = mart_paths(manifest)
    lines = [f"              {files[name]}  {rows[name]:,} rows" for name in LISTED if name in files]
    return [*lines, f"              and {len(files) - len(lines)} more tables, all described in dictionary.csv"]


def checks_line(
    n_checks: int, n_failed: int, n_conflicting: int, n_users: int, n_ignored: int, n_registrations: int
) -> str:
    """What the checks of the newest delivery found, and what was set aside."""
    found = {
        "rows share an action_id with another action": n_conflicting,
        "users have more actions than a person": n_users,
        "rows are of ignored actions": n_ignored,
        "registrations are superseded or impossible": n_registrations,
    }
    aside = "".join(f"; {number:,.0f} {what}" for what, number in found.items() if number)
    return f"Checks      {n_checks} of the newest delivery, {n_failed} failed (delivery_checks){aside}"


def percent(share: float) -> str:
    """A share as text."""
    return f"{100 * share:.0f} %"


def between(low: float, high: float) -> str:
    """An interval of shares as text: 73 to 84 %."""
    return f"{100 * low:.0f} to {percent(high)}"


def user_count(n_users: float) -> str:
    """A number of users; "few" where the count is suppressed."""
    return "few" if pd.isna(n_users) else f"{n_users:,.0f}"


def is_simulated(source: Path) -> bool:
    """True for a source that the demo's simulator wrote."""
    made_by = source / "made_by.json"
    return made_by.exists() and SIMULATOR in made_by.read_text()


def main() -> None:
    """Print the summary of LIFE_STAGE_WAREHOUSE."""
    warehouse = paths.warehouse()
    try:
        print(summary(warehouse, paths.published(), paths.source()), flush=True)
    except duckdb.Error as error:
        sys.exit(f"LS-SUM-001 {warehouse} cannot be read: {error}: run make build, or set LIFE_STAGE_WAREHOUSE")


if __name__ == "__main__":
    main()
