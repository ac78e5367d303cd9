"""Interface of relations for Python models, and scoring mapped over users, on Spark as on DuckDB.

Run by `make test-spark`.
"""

import os
import sys

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from test_scoring import FEBRUARY, Shop, random_shop  # noqa: F401  (a fixture)

from life_stage.filtering.scoring import score
from life_stage.spark import on_spark

sql = pytest.importorskip("pyspark.sql")
pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def session():
    """A separate session without tables."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.shuffle.partitions", "3").config("spark.sql.session.timeZone", "UTC")
    spark = builder.config("spark.sql.timestampType", "TIMESTAMP_NTZ").getOrCreate()
    yield on_spark.Session(spark)
    spark.stop()


def on(session: on_spark.Session, relation) -> on_spark.Relation:
    """The rows of a DuckDB relation on Spark."""
    return on_spark.Relation(session.spark.createDataFrame(relation.to_arrow_table()))


def test_scores_of_a_month_and_of_the_same_month_last_year_are_equal(session, random_shop):  # noqa: F811
    shop = Shop(*random_shop, {FEBRUARY: "v1"})
    relations = {name: on(session, relation) for name, relation in shop.relations.items()}
    found = score(session, **relations, month=FEBRUARY).toArrow().to_pandas()
    expected = shop.score()
    assert len(expected) > 10
    pd.testing.assert_frame_equal(found.sort_values("user_id", ignore_index=True), expected, rtol=0, atol=1e-12)


def test_without_a_model_there_are_no_scores(session, random_shop):  # noqa: F811
    shop = Shop(*random_shop, {})
    relations = {name: on(session, relation) for name, relation in shop.relations.items()}
    rows = score(session, **relations, month=FEBRUARY)
    assert isinstance(rows, pa.RecordBatchReader) and rows.read_all().num_rows == 0


def test_a_spark_relation_has_the_interface_of_duckdb(session):
    text = "select * from (values (3, 'c', 0.5, date '2017-01-01', timestamp '2017-01-01 10:00:00'),"
    text += " (1, 'a', null, null, null)) as t(n, name, value, day, told_at)"
    ours = duckdb.sql(text).project("cast(n as integer) as n, name, cast(value as double) as value, day, told_at")
    theirs = on(session, ours)
    for ask in (
        lambda rows: rows.order("n").fetchall(),
        lambda rows: rows.order("n desc").project("name, n + 1 as more").fetchall(),
        lambda rows: rows.filter("value is not null").fetchall(),
        lambda rows: rows.aggregate("max(day), count(*)").fetchall(),
    ):
        assert ask(theirs) == ask(ours)
    left, right = (rows.order("n").df() for rows in (ours, theirs))
    pd.testing.assert_frame_equal(left, right, check_dtype=False)
    assert [kind.kind for kind in left.dtypes] == [kind.kind for kind in right.dtypes]
    left, right = (rows.filter("n = 3").project("n, value").fetchnumpy() for rows in (ours, theirs))
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])
