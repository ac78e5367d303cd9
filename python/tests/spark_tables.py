"""Helper process for a Spark warehouse: writes tables, renames some or exports all.

A process of its own, because one at a time may open it.
"""

import sys
from pathlib import Path

from pyspark.sql import SparkSession


def open_warehouse(warehouse: Path) -> SparkSession:
    """A session on the warehouse that the target `spark` makes."""
    builder = SparkSession.builder.master("local[2]").enableHiveSupport()
    builder = builder.config("spark.sql.warehouse.dir", str(warehouse)).config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.session.timeZone", "UTC").config("spark.log.level", "ERROR")
    url = f"jdbc:derby:;databaseName={warehouse}/metastore;create=true"
    return builder.config("spark.hadoop.javax.jdo.option.ConnectionURL", url).getOrCreate()


def write_out(spark: SparkSession, folder: str) -> None:
    """Every table and view as Parquet."""
    for table in spark.catalog.listTables("life_stage"):
        spark.table(f"life_stage.{table.name}").write.parquet(f"{folder}/{table.name}")


def take_in(spark: SparkSession, folder: str) -> None:
    """A table of each Parquet file."""
    spark.sql("create database if not exists life_stage")
    for file in Path(folder).glob("*.parquet"):
        spark.read.parquet(str(file)).write.saveAsTable(f"life_stage.{file.stem}")


def set_aside(spark: SparkSession, *names: str) -> None:
    """Tables as a run leaves them that is killed while it replaces them; the last of the new ones is there."""
    for name in names:
        spark.sql(f"alter table life_stage.{name} rename to life_stage.{name}__dbt_backup")
    spark.sql(f"create table life_stage.{names[-1]} using parquet as table life_stage.{names[-1]}__dbt_backup")


if __name__ == "__main__":
    task, warehouse, *words = sys.argv[1:]
    TASKS = {work.__name__: work for work in (write_out, take_in, set_aside)}
    TASKS[task](open_warehouse(Path(warehouse)), *words)
