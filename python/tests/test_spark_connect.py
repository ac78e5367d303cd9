"""Spark Connect, without Java in the process of dbt: the job gives the tables of DuckDB.

Run by `make test-spark`.
"""

import pytest
from conftest import generate_source
from project import make_shop
from test_spark import VARS, WITHOUT_ROWS_YET, SparkShop, assert_equal, give_models
from test_spark_cluster import PARTS, free_port, running

pytest.importorskip("pyspark")
pytestmark = pytest.mark.spark


def test_tables_are_equal_through_spark_connect(tmp_path):
    shop = make_shop(tmp_path / "shop")
    generate_source(shop, users=1_200, months=4)
    shop.build(only=PARTS, **VARS)
    spark, port = SparkShop(shop), free_port()
    give_models(shop, spark)
    url = f"jdbc:derby:;databaseName={spark.warehouse}/metastore"
    settings = {
        "spark.connect.grpc.binding.port": port,
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.warehouse.dir": spark.warehouse,
        "spark.hadoop.javax.jdo.option.ConnectionURL": url,
        "spark.ui.enabled": "false",
    }
    words = ["org.apache.spark.deploy.SparkSubmit", "--master", "local[2]", "--class"]
    words += ["org.apache.spark.sql.connect.service.SparkConnectServer"]
    words += [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    with running(shop.folder, *words, "spark-internal"):
        paths = {"LIFE_STAGE_TARGET": "spark_connect", "LIFE_STAGE_SPARK_REMOTE": f"sc://127.0.0.1:{port}"}
        spark.build("--exclude-resource-type", "test", "unit_test", "--select", *PARTS.split(), **paths)
    assert_equal(shop, spark, tmp_path / "tables", WITHOUT_ROWS_YET)
