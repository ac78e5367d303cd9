"""Gives a Spark warehouse tables or writes all of them out; a process of its own, because one at a time may open it."""

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


def write_out(spark: SparkSession, folder: Path) -> None:
    """Every table and view as Parquet."""
    for table in spark.catalog.listTables("life_stage"):
        spark.table(f"life_stage.{table.name}").write.parquet(str(folder / table.name))


def take_in(spark: SparkSession, folder: Path) -> None:
    """A table of each Parquet file."""
    spark.sql("create database if not exists life_stage")
    for file in folder.glob("*.parquet"):
        spark.read.parquet(str(file)).write.saveAsTable(f"life_stage.{file.stem}")


if __name__ == "__main__":
    task, warehouse, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    {"write_out": write_out, "take_in": take_in}[task](open_warehouse(warehouse), folder)
