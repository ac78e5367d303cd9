"""Python models on Spark: tables with the interface of DuckDB's relations, and results written as tables.

Models are trained on the driver, on data of bounded size. Work per user is mapped over partitions on the executors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

Batches = Iterator[pa.RecordBatch]


def session() -> Any:
    """The Spark session of dbt."""
    from pyspark.sql import SparkSession  # installed by the extra `spark`

    return SparkSession.active()


@dataclass(frozen=True)
class Relation:
    """Rows of a Spark DataFrame, and its table's name if it is a table."""

    frame: Any
    name: str = ""

    def sql(self, text: str) -> "Relation":
        """A query on the rows, named {rows} in it."""
        return Relation(self.frame.sparkSession.sql(text, rows=self.frame))

    def filter(self, condition: str) -> "Relation":
        """The rows that meet the condition."""
        return self.sql(f"select * from {{rows}} where {condition}")

    def project(self, columns: str) -> "Relation":
        """The rows with these columns."""
        return self.sql(f"select {columns} from {{rows}}")

    def order(self, columns: str) -> "Relation":
        """The rows in this order."""
        return self.sql(f"select * from {{rows}} order by {columns}")

    def distinct(self) -> "Relation":
        """The distinct rows."""
        return self.sql("select distinct * from {rows}")

    def union(self, other: "Relation") -> "Relation":
        """The rows of both."""
        return Relation(self.frame.union(other.frame))

    def except_(self, other: "Relation") -> "Relation":
        """The distinct rows that the other does not have."""
        return Relation(self.frame.subtract(other.frame))

    def limit(self, n: int) -> "Relation":
        """The first rows."""
        return self.sql(f"select * from {{rows}} limit {n}")

    def aggregate(self, columns: str) -> "Relation":
        """One row of aggregates over all rows."""
        return self.project(columns)

    def fetchall(self) -> list[tuple]:
        """The rows as tuples."""
        return [tuple(row) for row in self.frame.collect()]

    def df(self) -> pd.DataFrame:
        """The rows as a pandas frame; dates are timestamps, as in DuckDB's."""
        frame = self.frame.toArrow().to_pandas(date_as_object=False)
        times = frame.select_dtypes("datetime").columns
        return frame.astype(dict.fromkeys(times, "datetime64[us]"))

    def fetchnumpy(self) -> dict[str, np.ndarray]:
        """The columns as arrays."""
        table = self.frame.toArrow()
        return {name: table[name].to_numpy() for name in table.column_names}


@dataclass(frozen=True)
class Session:
    """The session argument of a Python model."""

    spark: Any

    def table(self, name: str) -> Relation:
        """A table by its name."""
        return Relation(self.spark.table(name), name)

    def descriptions(self, table: str) -> dict[str, str]:
        """{column: description}; key '' is the table."""
        found = {column.name: column.description for column in self.spark.catalog.listColumns(table)}
        found[""] = self.spark.catalog.getTable(table).description
        return {column: " ".join(text.split()) for column, text in found.items() if text}

    def mapped(self, rows: Any, function: Callable[[Batches], Batches], schema: pa.Schema) -> Any:
        """The rows of a DataFrame mapped by a function, in batches on the executors."""
        from pyspark.sql.pandas.types import from_arrow_schema

        return rows.mapInArrow(function, from_arrow_schema(schema))


def with_files(tables: dict[str, Relation], parent: Path, function: Callable[[dict], Any]) -> Any:
    """Call the function with DuckDB relations on temporary Parquet files of the tables.

    parent: a folder that the executors can write to.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".from_spark.", dir=parent) as folder:
        for name, table in tables.items():
            table.frame.write.parquet(f"{folder}/{name}")
        return function({name: duckdb.read_parquet(f"{folder}/{name}/*.parquet") for name in tables})


def write(model: Callable, dbt_object: Callable, name: str) -> None:
    """Run a Python model and write its result to the table of that name."""
    spark_session = Session(session())
    if schema := name.rpartition(".")[0].strip("`"):  # where the catalogue looks for the project's tables
        spark_session.spark.catalog.setCurrentDatabase(schema)
    rows = model(dbt_object(spark_session.table), spark_session)
    if isinstance(rows, pd.DataFrame):
        rows = pa.Table.from_pandas(rows, preserve_index=False)
    if isinstance(rows, pa.RecordBatchReader):  # empty: rows come as DataFrames of the executors
        rows = rows.read_all()
    if isinstance(rows, pa.Table):
        from pyspark.sql.pandas.types import from_arrow_schema

        # Spark Connect needs the schema of an empty table.
        columns = None if rows.num_rows else from_arrow_schema(rows.schema, prefer_timestamp_ntz=True)
        rows = spark_session.spark.createDataFrame(rows, columns)
    rows.write.mode("overwrite").format("parquet").saveAsTable(name)
