"""Spark cluster of a master and two workers: the job gives the tables of DuckDB, and both workers run tasks.

The shop's months are those of a zone with summer time.

Run by `make test-spark`.
"""

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import generate_source
from project import PATHS, make_shop
from test_spark import JAVA, VARS, WITHOUT_ROWS_YET, SparkShop, assert_equal, give_models

pyspark = pytest.importorskip("pyspark")
pytestmark = pytest.mark.spark

PARTS = "+stage_scores +birth_month_filter"  # SQL month by month, Python mapped over users, a carried state
SETTINGS = {
    "spark.driver.host": "127.0.0.1",
    "spark.executor.memory": "768m",
    "spark.eventLog.enabled": "true",
    "spark.eventLog.compress": "false",
    "spark.eventLog.rolling.enabled": "false",
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def running(folder: Path, *words: str):
    """A daemon of Spark's in the folder, until the block ends."""
    command = [str(Path(pyspark.__file__).parent / "bin" / "spark-class"), *words]
    paths = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_WORKER_DIR": str(folder), "PYSPARK_PYTHON": sys.executable}
    environment = os.environ | JAVA | PATHS | paths
    with (folder / "output.txt").open("a") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def cluster(tmp_path):
    """The address of a master with two workers of one core each."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    master = f"spark://127.0.0.1:{free_port()}"
    deploy = "org.apache.spark.deploy"
    here = ["--host", "127.0.0.1", "--webui-port", "0"]
    worker = [f"{deploy}.worker.Worker", master, "--cores", "1", "--memory", "1g", *here]
    with (
        running(folder, f"{deploy}.master.Master", "--port", master.rsplit(":")[-1], *here),
        running(folder, *worker),
        running(folder, *worker),
    ):
        yield master


def test_both_workers_of_a_cluster_work_and_the_tables_are_equal(cluster, tmp_path):
    shop = make_shop(tmp_path / "shop")
    generate_source(shop, users=1_200, months=4)
    variables = VARS | {"business_timezone": "America/Sao_Paulo"}
    shop.build(only=PARTS, **variables)
    spark, events, settings = SparkShop(shop, variables), tmp_path / "events", tmp_path / "settings"
    give_models(shop, spark)
    for folder in (events, settings):
        folder.mkdir()
    defaults = SETTINGS | {"spark.eventLog.dir": events.as_uri()}
    (settings / "spark-defaults.conf").write_text("\n".join(f"{name} {value}" for name, value in defaults.items()))
    paths = {"LIFE_STAGE_SPARK_MASTER": cluster, "SPARK_CONF_DIR": str(settings)}
    spark.build("--exclude-resource-type", "test", "unit_test", "--select", *PARTS.split(), **paths)
    (log,) = events.iterdir()
    ended = [event for event in map(json.loads, log.open()) if event["Event"] == "SparkListenerTaskEnd"]
    done = [event["Task Info"]["Executor ID"] for event in ended if event["Task End Reason"]["Reason"] == "Success"]
    assert set(done) == {"0", "1"}
    assert_equal(shop, spark, tmp_path / "tables", WITHOUT_ROWS_YET)
