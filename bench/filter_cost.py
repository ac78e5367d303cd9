"""Cost of filter updates for 500,000 users: 23 months from nothing, the month after, and nothing new.

The log-likelihoods are those of 5,000 simulated shoppers, each a hundred times. Every figure is a whole `dbt run` of
the filter models, including the start of dbt, with a limit of 2 GB for DuckDB. python bench/filter_cost.py
"""

import os
from functools import partial

import duckdb
from measuring import build, child_usage, dbt, demo_source, folder_of, keep, measured

NAME, USERS, COPIES = "filter", 5_000, 100
NEWEST = "2017-02-01"
RECURSIVE = ("birth_month_filter", "presence_filter", "household_children", "dynamic_fusion")
FILTERS = (*RECURSIVE, "household_stages")


def multiply(connection: duckdb.DuckDBPyConnection) -> int:
    """Each user a hundred times in the input tables of the filters, without posteriors; number of users."""
    for table in ("stage_log_likelihoods", "stage_scores", "group_log_likelihoods"):
        connection.execute(f"create table once as from {table}")
        if table == "group_log_likelihoods":  # a view: its cost is part of scoring
            connection.execute("drop view group_log_likelihoods cascade")
            connection.execute("create table group_log_likelihoods as from once")
        connection.execute(f"truncate {table}")
        for month in connection.execute("select distinct month from once order by month").fetchall():
            connection.execute(
                f"""insert into {table} select once.* replace (concat(user_id, '-', copy) as user_id)
                from once cross join range({COPIES}) as copies(copy) where month = ?""",
                month,
            )
        connection.execute("drop table once")
    for model in FILTERS:
        connection.execute(f"truncate {model}")
        if model in RECURSIVE:
            connection.execute(f"truncate {model}_cells")
        connection.execute("delete from build_log where model like ?", [f"{model}%"])
    connection.execute("create table withheld as from month_model_assignments where month = ?", [NEWEST])
    connection.execute("delete from month_model_assignments where month = ?", [NEWEST])
    return connection.execute("select count(distinct user_id) from stage_log_likelihoods").fetchall()[0][0]


def run_filters() -> dict[str, float]:
    """CPU time and memory of the filter models and the household readout."""
    os.environ["LIFE_STAGE_MEMORY"] = "2GB"
    return child_usage(partial(dbt, folder_of(NAME), NAME, "run", "--select", *FILTERS))


def main() -> None:
    """Measure and print."""
    warehouse = build(demo_source(NAME, users=USERS, months=24, through="2017-02"), NAME)
    with duckdb.connect(str(warehouse)) as connection:
        n_users = multiply(connection)
    found = {"23 months from nothing": measured(run_filters)}
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("insert into month_model_assignments from withheld")
    found["one new month"] = measured(run_filters)
    found["nothing new"] = measured(run_filters)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        sizes = connection.execute(
            "select table_name, estimated_size from duckdb_tables()"
            f" where table_name similar to '({'|'.join(FILTERS)}).*'"
        ).fetchall()
    keep("filter_cost", {"n_users": n_users, "runs": found, "rows": dict(sizes)})
    print(f"{n_users:,} users, all filter models:")
    for name, figures in found.items():
        print(
            f"  {name:24} {figures['cpu_s']:6.1f} CPU-s {figures['wall_s']:6.1f} s, peak {figures['peak_mb']:,.0f} MiB"
        )
    print(f"  warehouse {warehouse.stat().st_size / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
