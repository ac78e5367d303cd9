"""Cost of scoring a month of 4 million actions: features and log-likelihoods, against a bare scan of their columns.

Compares two methods: distinct days per feature (the project's SQL), and push-down, which sums the weights to one score
per item and action first, without rows per feature. python bench/scoring_cost.py; QUICK=1: a tenth of the users
"""

from functools import partial

import duckdb
from harness import QUICK, WORK, build, compiled, cpu, demo_source, in_turn, keep, measured, queries, ratio, show

MODELS = ("user_month_features", "stage_log_likelihoods")
NAME, MONTH, USERS = "month", "2016-11-01", 24_500 if QUICK else 245_000


def connect() -> duckdb.DuckDBPyConnection:
    """A connection to the warehouse, read only, and to an empty scratch file."""
    scratch = WORK / "scratch.duckdb"
    scratch.unlink(missing_ok=True)
    connection = duckdb.connect()
    connection.execute("set threads = 2; set preserve_insertion_order = false; set enable_progress_bar = false")
    connection.execute(f"attach '{WORK / NAME}.duckdb' as {NAME} (read_only)")
    connection.execute(f"attach '{scratch}' as scratch")
    return connection


def run(sql: str) -> dict[str, float]:
    """CPU seconds of the statements, without opening the files."""
    connection = connect()
    with cpu() as figures:
        connection.execute(sql).fetchall()
    return figures


def main() -> None:
    """Measure and print."""
    build(demo_source(f"{NAME}_{USERS}", users=USERS, months=1, through="2016-11"), NAME)
    with connect() as connection:
        version, n_actions, bins = connection.execute(
            f"""select (select max(model_version) from {NAME}.model_registry),
            (select count(*) from {NAME}.stg_actions), (select list(age_bin order by bin_no) from {NAME}.age_bins)"""
        ).fetchone()
    models = {
        model: compiled(NAME, model, MONTH, version).replace(f'"{NAME}"."main"."{MODELS[0]}"', f"scratch.{MODELS[0]}")
        for model in MODELS
    }
    pieces = queries("scoring_cost", warehouse=NAME, month=MONTH, model_version=version, bins=bins, **models)
    found = in_turn({name: partial(measured, run, sql) for name, sql in pieces.items()})
    ratios = {name: ratio(found, name, "bare scan") for name in pieces}
    keep("scoring_cost", {"n_actions": n_actions, "runs": found, "ratio_to_bare_scan": ratios})
    show(f"One month, {n_actions:,} actions, {len(bins)} age bins", found, ratios)


if __name__ == "__main__":
    main()
