"""Monitoring: quality of predictions, latency of requests, drift, early retraining."""

import threading

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from project import copy_shop

from life_stage_checkout.request_log import REQUESTS, RequestLog

STAGES = {"pregnancy": -9, "newborn": 0, "infant": 6, "toddler": 12, "nursery": 24, "kindergarten": 36, None: 84}
REFERENCE = pd.date_range("2000-01-01", periods=12, freq="MS")
STILL = pd.date_range("2001-01-01", periods=100, freq="MS")
CHANGED = pd.date_range("2010-01-01", periods=20, freq="MS")


@pytest.fixture(scope="module")
def watched(base, tmp_path_factory):
    """The base with its monitors; drift and retraining triggers are views: copy it."""
    shop = copy_shop(base, tmp_path_factory.mktemp("watched") / "shop")
    shop.build(only="model_drift retraining_triggers", training_quality_floor=0.5)
    return shop


def met_by(users, months, probabilities, dice):
    """Three features of a group for every user and month, sampled from the probabilities."""
    rows = [
        (str(user), month, dice.choice(len(probabilities), 3, p=probabilities)) for month in months for user in users
    ]
    return [(user, month, f"leaf={number}") for user, month, numbers in rows for number in set(numbers)]


def fill(shop, rows):
    """Replace the features by these rows, each observed on one day, and date the newest model to the year 2000."""
    features = pd.DataFrame(rows, columns=["user_id", "month", "feature"]).assign(n_days=1, value=np.log(2))
    with duckdb.connect(shop.warehouse) as connection:
        connection.register("features", features)
        connection.execute("delete from user_month_features")
        connection.execute(
            "insert into user_month_features select user_id, month::date, feature, n_days, value from features"
        )
        connection.execute("update stage_coefficients set trained_through = date '2000-12-01'")


@pytest.mark.parametrize("n_users", [30, 300])
def test_drift_has_no_error_on_stable_data_and_one_in_every_month_after_a_change(watched, tmp_path, n_users):
    shop, dice = copy_shop(watched, tmp_path / "shop"), np.random.default_rng(n_users)
    before = dice.dirichlet(np.ones(25))
    after = np.empty(25)
    after[np.argsort(before)] = np.sort(before)[::-1]  # the rarest feature becomes the most common
    users = range(n_users)
    fill(shop, met_by(users, [*REFERENCE, *STILL], before, dice) + met_by(users, CHANGED, after, dice))
    levels = shop.frame("model_drift").set_index("month")["level"]
    assert list(levels[STILL].unique()) == ["ok"] and len(levels) == 120
    assert list(levels[CHANGED].unique()) == ["error"]
    reasons = shop.frame("retraining_triggers")
    assert set(reasons["month"]) == set(CHANGED) and set(reasons["measure"]) == {"leaf"}
    assert (reasons["value"] > reasons["threshold"]).all()


def test_drift_is_the_stability_index_against_the_year_of_the_training(watched, tmp_path):
    shop = copy_shop(watched, tmp_path / "shop")
    shop.change("update stage_coefficients set trained_through = date '2016-11-01'")
    features = shop.frame("user_month_features", "n_days is not null and feature like '%=%'")
    features["family"] = features["feature"].str.partition("=")[0]
    found = shop.frame("model_drift").set_index(["month", "feature"])["stability_index"]
    wanted = {}
    for family, rows in features.groupby("family"):
        counts = pd.crosstab(rows["feature"], rows["month"])
        for month in counts.columns[counts.columns > "2016-11-01"]:
            pair = pd.concat([counts[month], counts.loc[:, :"2016-11-01"].sum(axis=1)], axis=1) + 0.5
            share, before = (pair / pair.sum()).to_numpy().T
            wanted[(month, family)] = ((share - before) * np.log(share / before)).sum()
    assert len(found) > 15
    pd.testing.assert_series_equal(found.sort_index(), pd.Series(wanted).sort_index(), check_names=False, atol=1e-8)


@pytest.mark.slow
def test_a_run_retrains_early_only_after_feature_drift(watched, tmp_path):
    shop = copy_shop(watched, tmp_path / "shop")
    shop.change("update stage_coefficients set trained_through = date '2016-11-01'")
    models = "select distinct trained_through::varchar from stage_coefficients order by 1"
    wanted = {"only": "stage_coefficients", "training_every_months": 6, "training_fine_tuning": False}
    shop.build(**wanted)
    assert shop.query(models) == [("2016-11-01",)]
    shop.change("update user_month_features set feature = 'size=' || feature where month > '2016-11-01'")
    finished = shop.start(**wanted)
    assert "early retraining: drift of size in 2016-12 is" in " ".join(finished.output.split())
    assert shop.query(models) == [("2016-11-01",), ("2017-02-01",)]
    assert shop.query("from retraining_triggers") == []


def test_quality_is_a_retraining_trigger_only_if_significantly_below_the_floor_since_training(watched, tmp_path):
    shop = copy_shop(watched, tmp_path / "shop")
    made = "update monitor_quality set subject = 'life_stage', month = '{}', n_cases = {}, accuracy = {}"
    found = {}
    shop.change("delete from monitor_quality where rowid > 0")
    shop.build(only="retraining_triggers", training_quality_floor=0.5)
    for facts in [
        ("2017-03-01", 100, 0.39),
        ("2017-03-01", 70, 0.39),
        ("2017-02-01", 100, 0.39),
        ("2017-03-01", 19, 0.1),
    ]:
        shop.change(made.format(*facts))
        found[facts] = [row[0] for row in shop.query("from retraining_triggers")]
    assert list(found.values()) == [["quality"], [], [], []]


def quality_of(shop, made_on):
    """monitor_quality of the life stages, in pandas: made_on is the day of the training."""
    labels = shop.frame("stage_labels").query("n_children == 1").dropna(subset=["registered_at"])
    labels = labels[
        labels["registered_at"].dt.strftime("%Y-%m") == (labels["month"] + pd.DateOffset(months=1)).dt.strftime("%Y-%m")
    ]
    labels = labels[(labels["split"] == "test") | (labels["registered_at"].dt.normalize() > made_on)]
    names, edges = [name for name in STAGES if name], list(STAGES.values())
    labels["place"] = np.searchsorted(edges, labels["age_months"], "right") - 1
    labels = labels[(labels["age_months"] >= edges[0]) & (labels["age_months"] < edges[-1])]
    posteriors = shop.frame("stage_posteriors", "method = 'birth_month_filter' and is_primary")
    rows = labels.merge(posteriors, on=["user_id", "month"])
    shares = rows[[f"p_{name}" for name in names]].to_numpy()
    rows["told"], rows["sure"] = shares.argmax(axis=1), shares.max(axis=1)
    rows["relevance"], rows["right"] = shares[np.arange(len(rows)), rows["place"]], rows["told"] == rows["place"]
    rows["month"] += pd.DateOffset(months=1)
    wanted = []
    for month, cases in rows.groupby("month"):
        gaps = (cases["right"] - cases["sure"]).groupby(np.minimum(cases["sure"] * 15 // 1, 14)).sum().abs().sum()
        means = cases["right"].mean(), cases["relevance"].mean(), cases["sure"].mean()
        wanted.append((month, len(cases), *means, gaps / len(cases)))
    return wanted


@pytest.mark.parametrize(("made_on", "n_least"), [("2026-01-01", 1), ("2016-10-15", 5)])
def test_monitored_quality_uses_registrations_that_no_model_was_trained_on(base, tmp_path, made_on, n_least):
    shop = copy_shop(base, tmp_path / "shop")
    shop.change(f"update model_runs set started_at = timestamp '{made_on} 06:00:00'")
    shop.build(only="monitor_quality", evaluated=True)
    columns = ["month", "n_cases", "accuracy", "relevance", "mean_probability", "calibration_error"]
    found = shop.frame("monitor_quality")[columns].sort_values("month")
    wanted = quality_of(shop, pd.Timestamp(made_on))
    assert len(found) == len(wanted) and found["n_cases"].sum() >= n_least
    for row, other in zip(found.itertuples(index=False, name=None), wanted, strict=True):
        assert row[:2] == other[:2]
        np.testing.assert_allclose(row[2:], other[2:], atol=1e-8)


def test_requests_of_several_threads_are_logged_once_each_without_user_ids(tmp_path):
    with RequestLog(tmp_path / "requests", rows_per_file=100) as log:
        threads = [
            threading.Thread(target=lambda n=n: [log.add("habit", 1000 * n + k, 50, 10) for k in range(250)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(pq.read_metadata(file).num_rows >= 100 for file in (tmp_path / "requests").iterdir())
    rows = pq.read_table(tmp_path / "requests")
    assert rows.schema.names == REQUESTS.names == ["requested_at", "model", "milliseconds", "n_candidates", "n_shown"]
    assert sorted(rows["milliseconds"].to_pylist()) == [1000 * n + k for n in range(4) for k in range(250)]
    assert {file.suffix for file in (tmp_path / "requests").iterdir()} == {".parquet"}


def test_a_log_that_cannot_be_written_gives_a_warning_and_no_failed_request(tmp_path):
    (tmp_path / "file").touch()
    log = RequestLog(tmp_path / "file" / "requests", rows_per_file=2)
    log.add("habit", 1.0, 50, 10)
    with pytest.warns(UserWarning, match="LS-LOG-001 2 requests were not logged"):
        log.add("habit", 1.0, 50, 10)
    assert log.buffer == []


def test_latency_is_reported_by_model_and_day_and_unreadable_rows_are_counted(base, tmp_path):
    shop = copy_shop(base, tmp_path / "shop")
    dice = np.random.default_rng(1)
    days = ["2017-03-01", "2017-03-02"]
    wanted = {(model, day): dice.gamma(2, 3, 500) for model in ("habit", "hybrid") for day in days}
    rows = [(f"{day} 12:00:00", model, str(ms), "140", "10") for (model, day), taken in wanted.items() for ms in taken]
    frame = pd.DataFrame(rows, columns=REQUESTS.names)
    bad = [
        ("2017-03-01", "habit", "-1", "1", "1"),
        ("2017-03-01", "habit", "nan", "1", "1"),
        ("never", None, "", "1", "1"),
    ]
    (shop.source / "requests").mkdir()
    frame.astype({"milliseconds": float}).to_parquet(shop.source / "requests" / "first.parquet")
    pd.DataFrame(bad, columns=REQUESTS.names).to_csv(shop.source / "requests" / "second.csv", index=False)
    shop.build(only="monitor_latency", evaluated=True)
    found = shop.frame("monitor_latency").set_index(["model", "requested_on"])
    assert len(found) == 5 and tuple(found.loc[("unknown", "1970-01-01"), ["n_requests", "n_unusable"]]) == (0, 1)
    for (model, day), taken in wanted.items():
        row = found.loc[(model, pd.Timestamp(day))]
        np.testing.assert_allclose(
            row[["p50_ms", "p95_ms", "p99_ms"]].astype(float), np.quantile(taken, [0.5, 0.95, 0.99])
        )
        assert row["n_requests"] == 500 and row["mean_candidates"] == 140 and row["mean_shown"] == 10
        assert row["n_unusable"] == (2 if (model, day) == ("habit", "2017-03-01") else 0)
