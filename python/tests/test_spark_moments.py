"""Reader of moments and of properties on Spark, as on DuckDB.

Run by `make test-spark`.
"""

import pytest
from test_moments import COLUMNS, FORMS, expected_of, reader

from life_stage.engine.project_macros import project_macros

sql = pytest.importorskip("pyspark.sql")
pytestmark = pytest.mark.spark

TYPED = {  # moment, day in Shanghai
    "timestamp_ntz '2016-05-02 16:00:00'": ("2016-05-02 16:00:00", "2016-05-02"),
    "timestamp_ltz '2016-05-02 16:00:00+00:00'": ("2016-05-02 16:00:00", "2016-05-03"),
    "date '2016-05-03'": ("2016-05-03 00:00:00", "2016-05-03"),
    "1462204800L": ("2016-05-02 16:00:00", "2016-05-03"),
    "20160503": ("2016-05-03 00:00:00", "2016-05-03"),
    "null": (None, None),
}


@pytest.fixture(scope="module")
def spark():
    """A session in UTC, as in profiles.yml."""
    builder = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.session.timeZone", "UTC").config("spark.sql.timestampType", "TIMESTAMP_NTZ")
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.mark.parametrize("column", COLUMNS)
def test_a_text_is_read_on_spark_as_on_duckdb(spark, column):
    wrong = {}
    for order in {row["order"] for row in FORMS}:
        value = reader(column, engine="spark", source_date_order=order or "ymd", business_timezone="Asia/Shanghai")
        rows = [row for row in FORMS if row["order"] == order]
        texts = spark.createDataFrame([(n, row["text"]) for n, row in enumerate(rows)], "n int, x string")
        found = texts.selectExpr("n", f"cast({value} as string) as found").orderBy("n").collect()
        for row, (_, text) in zip(rows, found, strict=True):
            expected = expected_of(column, row["moment"], row["day_in_shanghai"])
            if text != expected:
                wrong[row["form"]] = (row["text"], text, expected)
    assert wrong == {}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("typed", TYPED)
def test_a_typed_column_is_read_on_spark_as_on_duckdb(spark, column, typed):
    value = reader(column, engine="spark", business_timezone="Asia/Shanghai")
    (row,) = spark.sql(f"select cast({value} as string) from (select {typed} as x)").collect()
    assert row[0] == expected_of(column, *TYPED[typed])


def test_pairs_become_json_on_spark_as_on_duckdb(spark):
    pairs = str(project_macros("spark")["json_of_pairs"]("x"))
    (row,) = spark.sql(f"select {pairs} from (select 'k:v;k:w|x= y:z |' as x)").collect()
    assert row[0] == '{"k":"w","x":"y:z"}'
