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
def results(evaluated, tmp_path_factory):
    """The result of each MetricFlow query, by metric."""
    if not MF.exists():
        pytest.skip("MetricFlow is not installed: pip install -e '.[metrics]'")
    shop = copy_shop(evaluated, tmp_path_factory.mktemp("metrics") / "shop")
    found = {}
    for query in QUERIES:
        words = [str(MF), *shlex.split(query), "--csv", "result.csv"]
        run = subprocess.run(words, cwd=shop.folder, env=os.environ | PATHS, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
        found[words[words.index("--metrics") + 1]] = pd.read_csv(shop.folder / "result.csv")
    return found


def test_users_are_those_of_the_newest_month(evaluated, results):
    marts = evaluated.frame("stage_totals", "month = '2017-02-01'").set_index("stage")["n_users"].dropna()
    found = results["users"].set_index("stage_month__stage")["users"].dropna()
    assert found.to_dict() == marts.to_dict() and len(found) > 3


def test_churn_is_the_monthly_share_of_lost_users(evaluated, results):
    marts = evaluated.frame("stage_totals").set_index(["month", "stage"])
    found = results["churn"].dropna()
    found["month"] = pd.to_datetime(found["metric_time__month"])
    assert len(found) > 3
    for row in found.itertuples():
        mart = marts.loc[(row.month, row.stage_month__stage)]
        assert row.churn == pytest.approx(mart["n_moved_out"] / mart["n_users"], rel=1e-4)


def test_churn_of_all_months_leaves_out_suppressed_months(evaluated, results):
    marts = evaluated.frame("stage_totals").groupby("stage")
    found = results["churn,users_who_entered"].set_index("stage_month__stage")
    users = marts.apply(lambda rows: rows["n_users"][rows["n_moved_out"].notna()].sum(), include_groups=False)
    churn = (marts["n_moved_out"].sum() / users).dropna()
    assert found["churn"].dropna().to_dict() == pytest.approx(churn.to_dict(), rel=1e-4) and len(churn) > 3
    assert found["users_who_entered"].dropna().to_dict() == marts["n_moved_in"].sum(min_count=1).dropna().to_dict()


def test_children_are_those_of_user_stages(evaluated, results):
    marts = evaluated.frame("user_stages").groupby("stage")
    found = results["children,inferred_share"].set_index("child__stage")
    assert found["children"].to_dict() == marts.size().to_dict() and len(found) == 6
    shares = marts["source"].agg(lambda source: (source == "inferred").mean())
    assert found["inferred_share"].fillna(0).to_dict() == pytest.approx(shares.to_dict(), rel=1e-4)


def test_expected_entries_are_not_summed_over_months(evaluated, results):
    outlook = evaluated.frame("stage_outlook")
    last = outlook[outlook["horizon"] == 6].groupby("stage")["p_entering"].sum()
    found = results["expected_entries"].set_index("outlook__stage")["expected_entries"]
    assert found.to_dict() == pytest.approx(last.to_dict(), rel=1e-4) and len(last) > 3
    sums = outlook.groupby(["stage_month", "stage"])[["p_entering", "probability"]].sum()
    by_month = results["expected_entries,expected_children"]
    assert len(by_month) == len(sums) > 20
    for row in by_month.itertuples():
        mart = sums.loc[(pd.Timestamp(row.metric_time__month), row.outlook__stage)]
        assert (row.expected_entries, row.expected_children) == pytest.approx(tuple(mart), rel=1e-4)


def test_events_are_counted_by_change(evaluated, results):
    found = results["stage_events"].set_index("event__change")["stage_events"]
    assert found.to_dict() == evaluated.frame("stage_events").groupby("change").size().to_dict()


def test_the_rejected_share_is_that_of_all_runs(evaluated, results):
    runs = evaluated.frame("model_runs")
    (share,) = results["rejected_share"]["rejected_share"]
    assert share == pytest.approx(runs["n_rows_rejected"].sum() / runs["n_rows_read"].sum(), rel=1e-4)


def test_accuracy_is_that_of_the_evaluation(evaluated, results):
    marts = evaluated.frame("stage_accuracy", "cohort = 'all' and period = 'all'").set_index("method")["accuracy"]
    found = results["accuracy"].set_index("evaluation__method")["accuracy"]
    assert found.to_dict() == pytest.approx(marts.to_dict(), rel=1e-4)
