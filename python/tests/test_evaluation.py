"""Evaluation of the methods: no leakage, arrays equal to the SQL of the marts, correct means and errors."""

import shutil
from datetime import date

import duckdb
import numpy as np
import pandas as pd
import pytest
from conftest import EVALUATED_FROM
from project import copy_shop, make_shop
from scipy.sparse import csr_matrix

from life_stage.evaluation.evaluation import predictions
from life_stage.evaluation.evaluation_model import (
    ROLLING_MONTHS,
    known_before,
    rolled_features,
    train_evaluation_model_if_due,
)
from life_stage.filtering.birth_months import Months
from life_stage.training.examples import Examples, TrainingData

METHODS = {
    "prior",
    "memory_less",
    "carry_last",
    "rolling_6_months",
    "dynamic_fusion_cold",
    "dynamic_fusion",
    "birth_month_filter_cold",
    "birth_month_filter",
}


def predictions_of(shop, method: str, stages: list[str]) -> pd.DataFrame:
    """The predictions of a method by user and month, stages in age order."""
    rows = shop.frame("evaluation_predictions", f"method = '{method}'").set_index(["user_id", "month"]).sort_index()
    return rows[[f"p_{stage}" for stage in stages]]


@pytest.fixture(scope="module")
def stages(evaluated):
    return [stage for (stage,) in evaluated.query("select stage from stages order by stage_no")]


def test_every_method_predicts_for_every_test_user_and_month_since_the_first(evaluated):
    first = """
        select user_id, min(acted.month) as month from user_months as acted
        where user_id in (select user_id from stage_labels where n_children = 1 and split = 'test') group by user_id
    """
    expected = evaluated.query(
        f"""select user_id, window_months.month from ({first}) as firsts
        join evaluation_window as window_months on window_months.month >= firsts.month order by all"""
    )
    for method in METHODS:
        found = evaluated.query(
            f"select user_id, cast(month as date) from evaluation_predictions where method = '{method}' order by all"
        )
        assert found == expected and len(found) > 100, method
    assert {method for (method,) in evaluated.query("select distinct method from evaluation_predictions")} == METHODS


def test_the_arrays_equal_the_sql_of_the_marts(evaluated, stages):
    """With the model of the marts instead of the evaluated one."""
    with duckdb.connect(evaluated.warehouse, read_only=True) as connection:
        known = "select * replace (date '2016-10-01' as trained_through) from stage_coefficients"
        coefficients = connection.sql(
            f"""
            with known as ({known})
            from known union all
            select * replace ('rolling_6_months' as model_name) from known where model_name = 'log_likelihood' union all
            select * replace ('memory_less' as model_name) from known
            where parameter_type = 'setting' and feature in ('tau', 'gamma', 'delta')
            or parameter_type = 'initial_prior'
            """
        )
        tables = {
            name: connection.table(table)
            for name, table in {
                "age_bins": "age_bins",
                "stages": "stages",
                "rows": "training_rows",
                "matrix": "design_matrix",
                "vocabulary": "training_vocabulary",
            }.items()
        }
        window = connection.table("evaluation_window")
        predicted = predictions(window=window, coefficients=coefficients, options={"fusion_merge": "mean"}, **tables)
    predicted = predicted.set_index(["method", "user_id", "month"])
    columns = [f"p_{stage}" for stage in stages]
    posteriors = evaluated.frame("stage_posteriors", "is_primary").set_index(["method", "user_id", "month"])
    for method in ("birth_month_filter", "dynamic_fusion"):
        ours = predicted.loc[method, columns]
        theirs = posteriors.loc[method].reindex(ours.index)[columns]
        assert len(ours) > 100
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6, err_msg=method)
    bins = evaluated.query(
        """select stage, list('bin_' || age_bin order by bin_no) from age_bins as bins join stages
        on bins.from_month >= stages.from_month and bins.to_month <= stages.to_month group by stage"""
    )
    scores = evaluated.frame("stage_scores").set_index(["user_id", "month"])
    masses = pd.DataFrame({f"p_{stage}": scores[names].sum(axis=1) for stage, names in bins})[columns]
    theirs = masses.div(masses.sum(axis=1), axis=0)
    given = predicted.loc["memory_less"]["has_prediction"]
    assert given.mean() > 0.2 and list(given[given].index) == list(theirs.index.intersection(given.index, sort=True))
    np.testing.assert_allclose(
        predicted.loc["memory_less"].loc[given, columns], theirs.loc[given[given].index], rtol=0, atol=1e-6
    )


def drop_models(shop) -> None:
    """Make the next run retrain the evaluated model."""
    shop.change("delete from evaluation_coefficients")


def test_registrations_of_test_users_change_no_prediction(evaluated, tmp_path):
    """They change the labels of the evaluation, and the marts."""
    shop = copy_shop(evaluated, tmp_path / "shop")
    users = "select user_id from stage_labels where split = 'test'"
    with duckdb.connect(shop.warehouse, read_only=True) as connection:
        connection.execute(
            f"""copy (
                select children.* replace (
                    case when cast(children.user_id as varchar) in ({users})
                    then birth_date - interval 14 month else birth_date end as birth_date)
                from read_parquet('{shop.source}/children.parquet') as children
            ) to '{shop.source}/changed.parquet'"""
        )
    (shop.source / "changed.parquet").rename(shop.source / "children.parquet")
    drop_models(shop)
    shop.build(evaluated=True, evaluation_from=EVALUATED_FROM)
    for table in ("evaluation_coefficients", "evaluation_predictions"):
        pd.testing.assert_frame_equal(shop.frame(table), evaluated.frame(table), check_exact=True, obj=table)
    n_right = "select count(*), sum(case when is_right then 1 else 0 end) from stage_predictions"
    assert shop.query(n_right) != evaluated.query(n_right)
    assert not shop.frame("user_stages").equals(evaluated.frame("user_stages"))


@pytest.mark.slow
def test_later_months_change_no_earlier_prediction(evaluated, tmp_path):
    """A source that ended with December gives the same evaluation up to December, also with later registrations."""
    shop = make_shop(tmp_path / "shop", like=evaluated)
    shop.source.mkdir()
    for file in ("items.parquet", "children.parquet"):
        shutil.copy2(evaluated.source / file, shop.source)
    shop.add_months(evaluated, [f"2016-{month:02}" for month in range(3, 13)])
    shop.build(evaluated=True, evaluation_from=EVALUATED_FROM, through_month="2016-12")
    found, known = (shop.frame("evaluation_predictions", "month < date '2017-01-01'") for shop in (shop, evaluated))
    pd.testing.assert_frame_equal(found, known, check_exact=False, rtol=0, atol=1e-9)
    assert len(known) > 200


def test_no_evaluated_user_was_trained_on(evaluated):
    trained, found = (
        {user for (user,) in evaluated.query(sql)}
        for sql in (
            "select distinct user_id from training_rows where split <> 'test'",
            "select distinct user_id from stage_predictions",
        )
    )
    assert not trained & found and len(found) > 20


def evaluated_model(shop, registry: str, known: str | None = None) -> pd.DataFrame:
    """What evaluation_coefficients would get, for other models in production (SQL) and known ones."""
    tables = {"window": "evaluation_window", "age_bins": "age_bins", "stages": "stages", "rows": "training_rows"}
    tables |= {"matrix": "design_matrix", "vocabulary": "training_vocabulary"}
    options = {"min_users": 10, "min_feature_support": 20, "fine_tuning": True}
    with duckdb.connect(shop.warehouse, read_only=True) as connection:
        return train_evaluation_model_if_due(
            **{name: connection.table(table) for name, table in tables.items()},
            registry=connection.sql(registry),
            known=connection.sql(known) if known else None,
            options=options,
        ).to_pandas()


def test_the_evaluated_model_is_the_one_that_was_in_production_before_the_window(evaluated, monkeypatch, capsys):
    """Its rows as they are, beside baselines of its time; a later model is not read, and none is trained."""
    monkeypatch.setattr("life_stage.training.training.train", lambda *_: pytest.fail("a model was trained"))
    ((first,),) = evaluated.query("select min(month) from evaluation_window")
    ages_of = {"old": 5, "newer": 1, "later": 0}
    versions = {
        name: f"select * replace ('{name}' as model_version, (date '{first}' - interval {months} month)::date "
        "as trained_through) from stage_coefficients"
        for name, months in ages_of.items()
    }
    registry = " union all ".join(versions.values())
    found = evaluated_model(evaluated, registry)
    assert set(found["model_version"]) == {"newer"}
    names = ["model_name", "parameter_type", "feature", "age_bin"]
    own = evaluated.frame("stage_coefficients").set_index(names)["value"].sort_index()
    pd.testing.assert_series_equal(found.set_index(names)["value"].sort_index().loc[own.index], own)
    assert set(found["model_name"]) - set(own.reset_index()["model_name"]) == {"rolling_6_months"}
    assert evaluated_model(evaluated, registry, known=versions["newer"]).empty
    assert not evaluated_model(evaluated, registry, known=versions["old"]).empty
    # In the first six months there is no such model: the one trained for the first build stays.
    assert evaluated_model(evaluated, versions["later"], known=versions["old"]).empty
    capsys.readouterr()
    monkeypatch.undo()
    assert not evaluated_model(evaluated, versions["later"]).empty
    assert "training on" in capsys.readouterr().err


def test_predictions_use_only_what_was_available_at_their_time():
    """Months, registrations, and features with support and scale of that time."""
    rows = pd.DataFrame(
        {
            "row_no": [1, 2, 3, 4, 5],
            "user_id": list("aabcc"),
            "month": pd.to_datetime(["2016-01-01", "2016-02-01", "2016-01-01", "2016-01-01", "2016-02-01"]),
            "registered_at": pd.to_datetime(["2015-01-01", "2015-01-01", "2016-02-03", None, None]),
            "split": ["train"] * 5,
        }
    )
    vocabulary = pd.DataFrame(
        {"feature_id": [1, 2, 3], "feature": list("xyz"), "n_rows": [5, 2, 2], "scale": [1.0, 1.0, 10.0]}
    )
    matrix = {
        "row_no": np.array([1, 3, 4, 2, 4, 5, 1, 4]),
        "feature_id": np.array([1, 1, 1, 2, 2, 2, 3, 3]),
        "value": np.array([1.0, 2.0, 3.0, 1.0, 1.0, 1.0, 0.2, 0.4]),
    }
    rows, matrix, vocabulary = known_before(TrainingData(rows, matrix, vocabulary), date(2016, 2, 1), 2)
    assert list(rows["user_id"]) == ["a", "c"], "b registered too late"
    assert list(vocabulary["feature"]) == ["x", "z"] and list(vocabulary["n_rows"]) == [2, 2]
    assert list(vocabulary["scale"]) == [1.0, 4.0]
    found = sorted(zip(*(matrix[name].tolist() for name in ("row_no", "feature_id", "value")), strict=True))
    assert found == [(1, 1, 1.0), (1, 2, 0.5), (2, 1, 3.0), (2, 2, 1.0)]


def test_rolled_features_count_the_days_of_six_months():
    """By hand for every readout, inactive months included."""
    rng = np.random.default_rng(1)
    lag = np.array([9, 8, 3, 0, 11, 5])
    user = np.array([1, 1, 1, 1, 2, 2])
    days = rng.integers(0, 9, size=(6, 4))
    examples = Examples(Months(user, lag, lag, 11 - lag), csr_matrix(np.log1p(days)), np.ones(6, bool))
    readouts = Months(np.repeat([1, 2], 10), np.tile(np.arange(10)[::-1], 2), np.zeros(20), np.zeros(20))
    chosen, in_days = np.array([True, False, True, True]), np.array([True, True, True, False])
    found = rolled_features(examples, readouts, chosen, in_days).toarray()
    for row, (who, now) in enumerate(zip(readouts.user, readouts.lag, strict=True)):
        near = (user == who) & (lag >= now) & (lag < now + ROLLING_MONTHS)
        expected = np.where(in_days, np.log1p(days[near].sum(axis=0)), np.log1p(days[near]).sum(axis=0))
        np.testing.assert_allclose(found[row], expected[chosen], atol=1e-12)


def test_the_tables_hold_the_means_and_the_errors_of_the_predictions(evaluated):
    """Recounted in pandas; the errors within a tenth of a bootstrap's over users."""
    predicted = evaluated.frame("stage_predictions", "method = 'birth_month_filter'")
    other = evaluated.frame("stage_predictions", "method = 'memory_less'")
    assert list(predicted["user_id"]) == list(other["user_id"]) and list(predicted["month"]) == list(other["month"])
    user = predicted["user_id"].astype("category").cat.codes.to_numpy()
    n_users = user.max() + 1
    draws = np.random.default_rng(0).multinomial(n_users, np.full(n_users, 1 / n_users), size=2000)

    def sampled_error(values):
        """The mean of every bootstrap sample of users."""
        return draws @ np.bincount(user, weights=values) / (draws @ np.bincount(user))

    def recall(frame):
        """The macro recall of every bootstrap sample of users."""
        of_stages = []
        for stage in sorted(predicted["true_stage"].unique()):
            inside = (frame["true_stage"] == stage).to_numpy()
            right = draws @ np.bincount(user, weights=inside & frame["is_right"])
            of_stages.append(right / np.maximum(draws @ np.bincount(user, weights=inside), 1e-9))
        return np.mean(of_stages, axis=0)

    where = "method = 'birth_month_filter' and period = 'all' and cohort = 'all'"
    row, gain = evaluated.frame("stage_accuracy", where).iloc[0], evaluated.frame("gain_over_baseline", where).iloc[0]
    right, more = predicted["is_right"].to_numpy(float), predicted["is_right"] * 1.0 - other["is_right"]
    assert row["n_user_months"] == len(predicted) and row["n_users"] == n_users
    assert row["accuracy"] == pytest.approx(right.mean(), abs=1e-12)
    assert row["macro_recall"] == pytest.approx(predicted.groupby("true_stage")["is_right"].mean().mean(), abs=1e-9)
    assert row["log_loss"] == pytest.approx(-np.log(predicted["true_stage_probability"]).mean(), abs=1e-9)
    assert gain["accuracy_gain"] == pytest.approx(more.mean(), abs=1e-12)
    assert gain["relative_accuracy_gain"] == pytest.approx(more.sum() / other["is_right"].sum(), abs=1e-12)
    bins = np.minimum((predicted["predicted_stage_probability"] * 15).astype(int), 14)
    gaps = (predicted["is_right"] - predicted["predicted_stage_probability"]).groupby(bins).sum()
    assert row["calibration_error"] == pytest.approx(gaps.abs().sum() / len(predicted), abs=1e-9)
    for found, values in {
        row["accuracy_error"]: sampled_error(right),
        row["log_loss_error"]: sampled_error(predicted["log_loss"]),
        row["macro_recall_error"]: recall(predicted),
        gain["accuracy_gain_error"]: sampled_error(more),
        gain["log_loss_gain_error"]: sampled_error(predicted["log_loss"] - other["log_loss"]),
        gain["recall_gain_error"]: recall(predicted) - recall(other),
    }.items():
        assert found == pytest.approx(values.std(), rel=0.1)


def test_every_user_month_is_in_one_cohort_of_each_dimension(evaluated):
    n_evaluated = evaluated.query("select count(*) from stage_predictions where method = 'prior'")[0][0]
    counts = dict(
        evaluated.query("select cohort, count(*) from evaluation_cohorts where period = 'all' group by cohort")
    )
    assert counts["all"] == n_evaluated == counts["active month"] + counts["empty month"]
    inactive = counts["not active in the window"]
    assert n_evaluated == counts["active in the window"] + inactive
    bands = ("1-2 active months", "3-4 active months", "5 or more active months")
    assert n_evaluated == sum(counts.get(band, 0) for band in bands) + inactive
    assert n_evaluated == sum(n for cohort, n in counts.items() if cohort.startswith("history"))
    of_months = dict(
        evaluated.query("select cohort, count(*) from evaluation_cohorts where period <> 'all' group by cohort")
    )
    assert of_months == counts


def test_confusion_recall_and_calibration_are_counts_of_the_predictions(evaluated):
    predicted = evaluated.frame("stage_predictions")
    table = predicted.groupby(["method", "true_stage", "predicted_stage"]).size()
    found = evaluated.frame("stage_confusion").set_index(["method", "true_stage", "predicted_stage"]).sort_index()
    assert found["n_user_months"].to_dict() == table.to_dict()
    assert found.groupby(["method", "true_stage"])["share"].sum().to_numpy() == pytest.approx(1)
    recalls = evaluated.frame("stage_recall", "period = 'all' and n_user_months > 0").set_index(["method", "stage"])
    expected = predicted.groupby(["method", "true_stage"])["is_right"].mean()
    for key, recall in recalls["recall"].items():
        assert recall == pytest.approx(expected[key], abs=1e-12)
    found = predicted.groupby(["method", "predicted_stage"])["is_right"].mean()
    for key, share in recalls["precision_share"].dropna().items():
        assert share == pytest.approx(found[key], abs=1e-12)
    bins = evaluated.frame("stage_calibration").groupby("method")["n_user_months"].sum()
    assert bins.to_dict() == predicted.groupby("method").size().to_dict()


@pytest.mark.slow
def test_a_shop_without_enough_history_is_built_without_an_evaluation(base, tmp_path):
    shop = copy_shop(base, tmp_path / "young")
    drop_models(shop)
    run = shop.build(evaluated=True)
    assert "LS-ML-002 nothing is evaluated" in run.output
    assert shop.query("select count(*) from evaluation_predictions") == [(0,)]
    assert len(shop.frame("user_stages")) > 50
