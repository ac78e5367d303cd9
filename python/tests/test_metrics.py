"""Metrics of MetricFlow, queried as in docs/reading_marts.md, against the marts."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from project import PATHS, PROJECT, copy_shop

QUERIES = re.findall(
    r"^mf (query .*)$", (PROJECT / "docs" / "reading_marts.md").read_text(encoding="utf-8"), flags=re.M
)
MF = Path(sys.executable).with_name("mf")


@pytest.fixture(scope="module")
def predictions_by_method(evaluated, tmp_path_factory):
    """The result of each MetricFlow query, by metric."""
    if not MF.exists():
        pytest.skip("MetricFlow is not installed: pip install -e '.[metrics]'")
    shop = copy_shop(evaluated, tmp_path_factory.mktemp("metrics") / "shop")
    found = {}
    for query in QUERIES:
        words = [str(MF), *shlex.split(query), "--csv", "prediction.csv"]
        run = subprocess.run(words, cwd=shop.folder, env=os.environ | PATHS, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
        found[words[words.index("--metrics") + 1]] = pd.read_csv(shop.folder / "prediction.csv")
    return found


def test_users_are_those_of_the_newest_month(evaluated, predictions_by_method):
    marts = evaluated.frame("stage_totals", "month = '2017-02-01'").set_index("stage")["n_users"].dropna()
    found = predictions_by_method["users"].set_index("stage_month__stage")["users"].dropna()
    assert found.to_dict() == marts.to_dict() and len(found) > 3


def test_churn_is_the_monthly_share_of_lost_users(evaluated, predictions_by_method):
    marts = evaluated.frame("stage_totals").set_index(["month", "stage"])
    found = predictions_by_method["churn"].dropna()
    found["month"] = pd.to_datetime(found["metric_time__month"])
    assert len(found) > 3
    for row in found.itertuples():
        mart = marts.loc[(row.month, row.stage_month__stage)]
        assert row.churn == pytest.approx(mart["n_moved_out"] / mart["n_users"], rel=1e-4)


def test_accuracy_is_that_of_the_evaluation(evaluated, predictions_by_method):
    marts = evaluated.frame("stage_accuracy", "cohort = 'all' and period = 'all'").set_index("method")["accuracy"]
    found = predictions_by_method["accuracy"].set_index("evaluation__method")["accuracy"]
    assert found.to_dict() == pytest.approx(marts.to_dict(), rel=1e-4)
