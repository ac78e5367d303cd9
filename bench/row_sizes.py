"""What a row of each table takes as Parquet: the numbers that docs/scaling.md reckons with.

Of the newest month of the warehouse that LIFE_STAGE_WAREHOUSE names. make demo && python bench/row_sizes.py
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

TABLES = ("stg_action_rows", "user_month_features", "stage_evidence", "stage_scores", "birth_month_filter")
TABLES += ("birth_month_filter_cells", "pair_filter", "pair_filter_cells", "dynamic_fusion", "dynamic_fusion_cells")


def main() -> None:
    """Print rows and bytes per row."""
    warehouse = os.environ.get("LIFE_STAGE_WAREHOUSE", "warehouse/life_stage.duckdb")
    print("| table | rows of the newest month | bytes a row |\n|---|---|---|")
    with duckdb.connect(warehouse, read_only=True) as connection, TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        for table in TABLES:
            rows = connection.sql(
                f"select * exclude (month) from {table} where month = (select max(month) from {table})"
            )
            rows.order("user_id").write_parquet(str(file), compression="snappy")
            n_rows = rows.shape[0]
            print(f"| {table} | {n_rows:,} | {file.stat().st_size / n_rows:.0f} |")


if __name__ == "__main__":
    main()
