"""Helper that writes tables into a Spark warehouse, renames them or exports them.

A separate process, because only one at a time may open the warehouse.
"""

import sys
from pathlib import Path

from pyspark.sql import SparkSession


def open_warehouse(warehouse: Path) -> SparkSession:
    """A session on the warehouse of the target `spark`."""
    builder = SparkSession.builder.master("local[2]").enableHiveSupport()
    builder = builder.config("spark.sql.warehouse.dir", str(warehouse)).config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.session.timeZone", "UTC").config("spark.log.level", "ERROR")
    url = f"jdbc:derby:;databaseName={warehouse}/metastore;create=true"
    return builder.config("spark.hadoop.javax.jdo.option.ConnectionURL", url).getOrCreate()


def write_out(spark: SparkSession, folder: str) -> None:
    """Export every table and view as Parquet."""
    for table in spark.catalog.listTables("life_stage"):
        spark.table(f"life_stage.{table.name}").write.parquet(f"{folder}/{table.name}")


def take_in(spark: SparkSession, folder: str) -> None:
    """Create a table from each Parquet file."""
    spark.sql("create database if not exists life_stage")
    for file in Path(folder).glob("*.parquet"):
        spark.read.parquet(str(file)).write.saveAsTable(f"life_stage.{file.stem}")


def leave_backups(spark: SparkSession, *names: str) -> None:
    """Leave the tables as after a kill during swap_in; the last of the new ones exists."""
    for name in names:
        spark.sql(f"alter table life_stage.{name} rename to life_stage.{name}__dbt_backup")
    spark.sql(f"create table life_stage.{names[-1]} using parquet as table life_stage.{names[-1]}__dbt_backup")


if __name__ == "__main__":
    task, warehouse, *words = sys.argv[1:]
    TASKS = {work.__name__: work for work in (write_out, take_in, leave_backups)}
    TASKS[task](open_warehouse(Path(warehouse)), *words)
