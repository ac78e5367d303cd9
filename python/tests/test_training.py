"""A trained model is rows that say what scikit-learn's fit says, the same for the same input in any order."""

from dataclasses import replace
from datetime import date

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from life_stage.learning import is_due, new_model
from life_stage.training import COLUMNS, Settings, train

THROUGH = date(2017, 2, 1)
BINS = ("young", "middle", "old")  # not in alphabetical order, which is scikit-learn's
SETTINGS = Settings(age_bins=BINS, min_training_users=10)
TRUE_WEIGHTS = np.array([[1.5, -0.5, -1.0], [-1.0, 1.2, -0.2], [0.0, -1.0, 1.0]])


def sample(n_users: int, bins=BINS, weights=TRUE_WEIGHTS, shares=None, seed=7) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and features drawn from a known softmax; users 0, 1, ... in one month."""
    random = np.random.default_rng(seed)
    days = random.integers(0, 4, size=(n_users, len(weights)))
    logits = np.log1p(days) @ weights + np.log(np.ones(len(bins)) / len(bins) if shares is None else shares)
    chosen = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    users = np.array([f"u{n:06}" for n in range(n_users)])
    rows = pd.DataFrame({"user_id": users, "month": pd.Timestamp(THROUGH), "age_bin": np.array(bins)[chosen]})
    user, feature = days.nonzero()
    names = np.array([f"leaf={n}" for n in range(len(weights))])
    features = {"user_id": users[user], "feature": names[feature], "n_days": days[user, feature]}
    return rows, pd.DataFrame(features).assign(month=pd.Timestamp(THROUGH))


def wide(model: pd.DataFrame, kind: str, bins=BINS) -> np.ndarray:
    """The model's rows of one kind as features x bins."""
    return model[model["kind"] == kind].pivot(index="feature", columns="age_bin", values="value")[list(bins)].to_numpy()


def dense(rows: pd.DataFrame, features: pd.DataFrame) -> np.ndarray:
    counts = features.pivot(index="user_id", columns="feature", values="n_days").reindex(rows["user_id"])
    return np.log1p(counts.fillna(0).to_numpy(dtype=float))


def sklearn_fit(rows: pd.DataFrame, features: pd.DataFrame) -> LogisticRegression:
    return LogisticRegression(C=SETTINGS.inverse_penalty, max_iter=500).fit(dense(rows, features), rows["age_bin"])


def test_known_weights_are_recovered():
    rows, features = sample(12_000)
    found = wide(train(rows, features, THROUGH, SETTINGS), "coefficient")
    np.testing.assert_allclose(found, TRUE_WEIGHTS - TRUE_WEIGHTS.mean(axis=1, keepdims=True), atol=0.1)


def test_evidence_is_the_posterior_without_the_prior():
    rows, features = sample(4_000, shares=np.array([0.7, 0.2, 0.1]))
    model = train(rows, features, THROUGH, SETTINGS)
    posterior = sklearn_fit(rows, features).predict_log_proba(dense(rows, features))[:, [2, 0, 1]]  # old comes first
    shares = np.array([(rows["age_bin"] == name).mean() for name in BINS])
    evidence = dense(rows, features) @ wide(model, "coefficient") + wide(model, "intercept")
    difference = posterior - np.log(shares) - evidence
    np.testing.assert_allclose(difference - difference.mean(axis=1, keepdims=True), 0, atol=1e-9)


def test_how_common_an_age_is_shows_in_the_prior_and_not_in_the_evidence():
    rows, features = sample(10_000)
    rare_young = (rows["age_bin"] != "young") | (rows.index % 4 == 0)
    rows_left, users_left = rows[rare_young], set(rows["user_id"][rare_young])
    even = train(rows, features, THROUGH, SETTINGS)
    skewed = train(rows_left, features[features["user_id"].isin(users_left)], THROUGH, SETTINGS)
    assert np.log(wide(even, "prior")[0, 0] / wide(skewed, "prior")[0, 0]) > 0.7
    for kind in ("coefficient", "intercept"):
        np.testing.assert_allclose(wide(skewed, kind), wide(even, kind), atol=0.15)


@pytest.mark.parametrize("bins", [BINS, ("young", "old")], ids=["three bins", "two bins"])
def test_exported_rows_predict_what_scikit_learn_predicts(bins):
    rows, features = sample(3_000, bins=bins, weights=TRUE_WEIGHTS[:, : len(bins)])
    model, fitted = train(rows, features, THROUGH, replace(SETTINGS, age_bins=bins)), sklearn_fit(rows, features)
    shares = np.array([(rows["age_bin"] == name).mean() for name in bins])
    logits = dense(rows, features) @ wide(model, "coefficient", bins) + wide(model, "intercept", bins) + np.log(shares)
    ours = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    theirs = fitted.predict_log_proba(dense(rows, features))[:, [list(fitted.classes_).index(name) for name in bins]]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    assert (np.array(bins)[ours.argmax(axis=1)] == fitted.predict(dense(rows, features))).all()


def test_two_bins_share_the_weights_as_a_softmax_would():
    """scikit-learn has one row of weights for two classes; the softmax has two, each the other's negative."""
    bins = ("young", "old")
    rows, features = sample(3_000, bins=bins, weights=TRUE_WEIGHTS[:, :2])
    weights = wide(train(rows, features, THROUGH, replace(SETTINGS, age_bins=bins)), "coefficient", bins)
    np.testing.assert_array_equal(weights[:, 0], -weights[:, 1])
    assert weights[0, 0] > 0.5 > -0.5 > weights[1, 0], "the feature of the young speaks for the old"


def test_same_input_gives_the_same_bits_in_any_order():
    rows, features = sample(2_000)
    model = train(rows, features, THROUGH, SETTINGS)
    shuffled = train(rows.sample(frac=1, random_state=3), features.sample(frac=1, random_state=4), THROUGH, SETTINGS)
    pd.testing.assert_frame_equal(shuffled, model, check_exact=True)
    without_last = features[features["user_id"] != rows["user_id"].iloc[-1]]
    other = train(rows[:-1], without_last, THROUGH, SETTINGS)
    assert other["model_version"].iloc[0] != model["model_version"].iloc[0], "another model has another name"


def test_a_bin_with_too_few_rows_takes_the_weights_of_the_nearest_supported_one():
    rows, features = sample(3_000)
    bins = ("young", "rare", "middle", "never", "absent", "old")
    rows.loc[rows.index[:10], "age_bin"] = "rare"
    model = train(rows, features, THROUGH, replace(SETTINGS, age_bins=bins))
    for kind in ("coefficient", "intercept"):
        values = dict(zip(bins, wide(model, kind, bins).T, strict=True))
        np.testing.assert_array_equal(values["rare"], values["young"])  # as near as middle: the younger one
        np.testing.assert_array_equal(values["never"], values["middle"])
        np.testing.assert_array_equal(values["absent"], values["old"])
    prior = wide(model, "prior", bins)[0]
    assert (prior > 0).all() and prior.sum() == pytest.approx(1, abs=1e-12)
    assert prior[1] > prior[3], "ten rows weigh more than none"


def test_evidence_is_centred_over_the_bins():
    model = train(*sample(2_000), THROUGH, SETTINGS)
    for kind in ("coefficient", "intercept"):
        np.testing.assert_allclose(wide(model, kind).mean(axis=1), 0, atol=1e-12)


def test_too_little_to_learn_from_gives_no_rows():
    rows, features = sample(200)
    one_bin = rows.assign(age_bin="young")
    for model in (
        train(rows, features, THROUGH, replace(SETTINGS, min_training_users=201)),
        train(one_bin, features, THROUGH, SETTINGS),
        train(rows.iloc[:0], features.iloc[:0], THROUGH, SETTINGS),
    ):
        assert list(model.columns) == COLUMNS and model.empty
    assert not train(rows, features, THROUGH, replace(SETTINGS, min_training_users=200)).empty


@pytest.mark.parametrize(
    ("last_closed", "newest", "every_months", "due"),
    [
        (None, None, 1, False),  # no month is closed
        (date(2017, 2, 1), None, 1, True),  # the first model
        (date(2017, 2, 1), None, 0, True),  # never again is not never
        (date(2017, 2, 1), date(2017, 1, 1), 1, True),
        (date(2017, 2, 1), date(2017, 2, 1), 1, False),  # this month's model is there
        (date(2017, 2, 1), date(2016, 12, 1), 3, False),
        (date(2017, 3, 1), date(2016, 12, 1), 3, True),  # over the turn of the year
        (date(2017, 3, 1), date(2016, 12, 1), 0, False),
        (date(2016, 12, 1), date(2017, 2, 1), 1, False),  # the source went back
    ],
)
def test_a_model_is_due(last_closed, newest, every_months, due):
    assert is_due(last_closed, newest, every_months) is due


def test_no_model_is_added_while_none_is_due():
    rows, features = sample(2_000)
    with duckdb.connect() as connection:
        known = connection.sql("select date '2017-02-01' as trained_through")
        bins = pd.DataFrame({"bin_no": [3, 1, 2], "age_bin": ["old", "young", "middle"]})
        options = {"min_training_users": "10", "retrain_every_months": "1"}
        frames = {"age_bins": bins, "rows": rows, "features": features}
        tables = {name: connection.from_df(frame) for name, frame in frames.items()}
        months = "(values (date '2017-02-01', true), (date '2017-03-01', false))"
        ledger = connection.sql(f"from {months} as v(month, is_closed)")
        assert new_model(ledger=ledger, known=known, options=options, **tables).num_rows == 0
        model = new_model(ledger=ledger, known=None, options=options, **tables).to_pandas()
    expected = train(rows, features, THROUGH, SETTINGS)
    model["trained_through"] = model["trained_through"].astype(object)
    pd.testing.assert_frame_equal(model, expected, check_dtype=False, check_exact=True)
