"""Row sizes of each large table as Parquet, in its fullest month.

Data: 5,000 simulated shoppers over 24 months. docs/scaling.md uses the figures. python bench/row_sizes.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from measuring import build, demo_source, keep

NAME, USERS = "row_sizes", 5_000
TABLES = ("stg_action_rows", "user_month_features", "group_log_likelihoods", "stage_log_likelihoods", "stage_scores")
TABLES += ("birth_month_filter", "birth_month_filter_cells", "presence_filter", "presence_filter_cells")
TABLES += ("household_stages", "household_children")
TABLES += ("dynamic_fusion", "dynamic_fusion_cells", "user_stage_months")


def sizes(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, float]:
    """Number of rows of the fullest month, and bytes per row in Parquet ordered by user."""
    rows = connection.sql(
        f"""select * exclude (month) from {table}
        where month = (select month from {table} group by month order by count(*) desc, month desc limit 1)"""
    )
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        rows.order("user_id").write_parquet(str(file), compression="snappy")
        return {"rows": rows.shape[0], "bytes_a_row": file.stat().st_size / rows.shape[0]}


def main() -> None:
    """Measure and print."""
    warehouse = build(demo_source(NAME, users=USERS, months=24, through="2017-02"), NAME)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        found = {table: sizes(connection, table) for table in TABLES}
    keep("row_sizes", {"tables": found})
    for table, figures in found.items():
        print(f"{table:26} {figures['rows']:8,} rows {figures['bytes_a_row']:6.0f} bytes a row")


if __name__ == "__main__":
    main()
