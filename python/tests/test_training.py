"""Trained models as rows: predictions of scikit-learn's fit, identical for the same input in any order."""

import ast
import re
from dataclasses import replace
from datetime import date

import duckdb
import numpy as np
import pandas as pd
import pytest
from project import SMALL
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits
from training_data import AGES, FEATURES, THROUGH, months_of, training_tables, vocabulary_of

from life_stage.training import examples, regression, regularisation, train_through_filter, training
from life_stage.training.examples import TrainingData
from life_stage.training.model_rows import COLUMNS
from life_stage.training.regression import NotTrainedError
from life_stage.training.retraining import is_due, train_if_due
from life_stage.training.training import Options, train

C = 0.3
TRUE_WEIGHTS = np.array([[1.5, -0.5, -1.0], [-1.0, 1.2, -0.2], [0.0, -1.0, 1.0]])
PLAIN = Options(min_users=10, fine_tuning=False, inverse_penalty=C)
TUNED = replace(PLAIN, fine_tuning=True, anchor_inverse_penalty=0.1)
N_USERS = 1200


# The regression.


def sample(n_rows: int, weights=TRUE_WEIGHTS, shares=None, seed=7) -> tuple[csr_matrix, np.ndarray]:
    """Features sampled uniformly, and their bins sampled from a known softmax."""
    random = np.random.default_rng(seed)
    matrix = np.log1p(random.integers(0, 4, size=(n_rows, len(weights))))
    logits = matrix @ weights + (0 if shares is None else np.log(shares))
    return csr_matrix(matrix), (logits + random.gumbel(size=logits.shape)).argmax(axis=1)


def sklearn_log_posterior(matrix: csr_matrix, age_bin: np.ndarray, tolerance=1e-10) -> np.ndarray:
    """The predictions of scikit-learn's fit on the same rows, for any order of its classes."""
    kind = np.float32 if tolerance == regression.TOLERANCE else float
    fitted = LogisticRegression(C=C, tol=tolerance, max_iter=5000).fit(matrix.astype(kind), age_bin)
    assert (fitted.classes_ == np.arange(len(fitted.classes_))).all()
    return fitted.predict_log_proba(matrix)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_known_weights_are_recovered():
    found = regression.fit(*sample(12_000), 3, C).weights
    np.testing.assert_allclose(found, TRUE_WEIGHTS - TRUE_WEIGHTS.mean(axis=1, keepdims=True), atol=0.1)


def test_log_likelihood_is_the_posterior_without_the_prior():
    matrix, age_bin = sample(4_000, shares=np.array([0.7, 0.2, 0.1]))
    fitted = regression.fit(matrix, age_bin, 3, C)
    posterior = sklearn_log_posterior(matrix, age_bin, regression.TOLERANCE)
    shares = np.bincount(age_bin) / len(age_bin)
    difference = posterior - np.log(shares) - (matrix @ fitted.weights + fitted.intercepts)
    np.testing.assert_allclose(difference - difference.mean(axis=1, keepdims=True), 0, atol=1e-9)


def test_the_frequency_of_an_age_enters_the_prior_and_not_the_log_likelihood():
    matrix, age_bin = sample(10_000)
    left = (age_bin != 0) | (np.arange(len(age_bin)) % 4 == 0)
    even, skewed = regression.fit(matrix, age_bin, 3, C), regression.fit(matrix[left], age_bin[left], 3, C)
    assert np.log(even.prior[0] / skewed.prior[0]) > 0.7
    np.testing.assert_allclose(skewed.weights, even.weights, atol=0.15)
    np.testing.assert_allclose(skewed.intercepts, even.intercepts, atol=0.15)


@pytest.mark.parametrize("n_bins", [3, 2], ids=["three bins", "two bins"])
@pytest.mark.parametrize(
    ("tolerance", "apart"),
    [(regression.TOLERANCE, 1e-9), (1e-10, 0.1)],  # tolerance of a coarser, cheaper fit
    ids=["the same fit", "the optimum"],
)
def test_weights_and_prior_predict_what_scikit_learn_predicts(n_bins, tolerance, apart):
    matrix, age_bin = sample(3_000, weights=TRUE_WEIGHTS[:, :n_bins])
    fitted = regression.fit(matrix, age_bin, n_bins, C)
    shares = np.bincount(age_bin) / len(age_bin)
    ours = log_softmax(matrix @ fitted.weights + fitted.intercepts + np.log(shares))
    np.testing.assert_allclose(ours, sklearn_log_posterior(matrix, age_bin, tolerance), rtol=0, atol=apart)
    np.testing.assert_allclose(fitted.prior, shares, atol=1e-3)
    log_loss = regression.log_loss(fitted, matrix, age_bin)
    assert log_loss == pytest.approx(-ours[np.arange(len(age_bin)), age_bin].mean(), abs=1e-3)


def test_two_bins_share_the_weights_as_a_softmax_would():
    """scikit-learn has one row of weights for two classes; the softmax has two, each the other's negative."""
    weights = regression.fit(*sample(3_000, weights=TRUE_WEIGHTS[:, :2]), 2, C).weights
    np.testing.assert_array_equal(weights[:, 0], -weights[:, 1])
    assert weights[0, 0] > 0.5 > -0.5 > weights[1, 0], "the feature of the young speaks for the old"


@pytest.mark.fault("Training", "missing or rare class", "weights of the nearest class with enough rows")
def test_a_bin_with_too_few_rows_takes_the_weights_of_the_nearest_supported_one():
    matrix, age_bin = sample(3_000)
    young, rare, middle, never, absent, old = range(6)
    age_bin = np.array([young, middle, old])[age_bin]
    age_bin[:29], age_bin[29:59] = rare, young
    fitted = regression.fit(matrix, age_bin, 6, C)
    for values in (fitted.weights.T, fitted.intercepts):
        np.testing.assert_array_equal(values[rare], values[young])  # as near as middle: the younger one
        np.testing.assert_array_equal(values[never], values[middle])
        np.testing.assert_array_equal(values[absent], values[old])
    assert (fitted.prior > 0).all() and fitted.prior.sum() == pytest.approx(1, abs=1e-12)
    assert fitted.prior[rare] > fitted.prior[never], "29 rows weigh more than none"
    age_bin[29] = rare
    supported = regression.fit(matrix, age_bin, 6, C).weights
    assert (supported[:, rare] != supported[:, young]).all(), "30 rows are enough"


def test_log_likelihoods_are_centred_over_the_bins():
    fitted = regression.fit(*sample(2_000, shares=np.array([0.7, 0.2, 0.1])), 3, C)
    np.testing.assert_allclose(fitted.weights.mean(axis=1), 0, atol=1e-12)
    assert fitted.intercepts.mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.fault("Training", "constant feature", "zero weight")
def test_a_constant_feature_has_zero_weight():
    matrix, age_bin = sample(3_000)
    with_it = csr_matrix(np.hstack([matrix.toarray(), np.ones((3_000, 1))]))
    fitted, without = regression.fit(with_it, age_bin, 3, C), regression.fit(matrix, age_bin, 3, C)
    np.testing.assert_allclose(fitted.weights, [*without.weights, [0, 0, 0]], atol=0.1)


@pytest.mark.fault("Training", "perfect separation", "finite weights")
@pytest.mark.parametrize("inverse_penalty", [0.03, 1.0, 1e6])
def test_a_feature_that_determines_the_bin_has_a_finite_weight(inverse_penalty):
    matrix, age_bin = sample(3_000)
    informative = csr_matrix(np.hstack([matrix.toarray(), (age_bin == 1)[:, None]]))
    fitted = regression.fit(informative, age_bin, 3, inverse_penalty)
    assert np.isfinite(fitted.weights).all() and np.isfinite(fitted.intercepts).all()
    assert 1 < fitted.weights[-1, 1] < 30 and fitted.weights[-1, 1] == fitted.weights.max()


@pytest.mark.fault(
    "Training",
    "single class, too few rows, no convergence",
    "LS-ML-002 names the cause, older model stays in use",
)
def test_a_failed_regression_names_the_cause(monkeypatch):
    matrix, age_bin = sample(200)
    for refused, reason in (
        ((matrix, np.zeros(200, int)), "1 age bins with 30 rows, 3 features"),  # a single class
        ((matrix[:0], age_bin[:0]), "0 age bins"),
        ((matrix[:, :0], age_bin), "3 age bins with 30 rows, 0 features"),
        ((matrix[:40], age_bin[:40]), "0 age bins with 30 rows"),
    ):
        with pytest.raises(NotTrainedError, match=reason):
            regression.fit(*refused, 3, C)
    monkeypatch.setattr(regression, "MAX_ITERATIONS", 2)
    with pytest.warns(UserWarning, match="converge"), pytest.raises(NotTrainedError, match="converge in 2 iterations"):
        regression.fit(matrix, age_bin, 3, C)


# The whole model.


def wide(model: pd.DataFrame, kind: str, name="log_likelihood") -> pd.DataFrame:
    """The rows of one kind of a regression as features x bins."""
    rows = model[(model["parameter_type"] == kind) & (model["model_name"] == name)]
    return rows.pivot(index="feature", columns="age_bin", values="value")[list(AGES.bins)]


def wide_of_feature(model: pd.DataFrame, kind: str, name: str) -> pd.Series:
    """The rows of a kind that has one value per feature of a regression."""
    return model[(model["parameter_type"] == kind) & (model["model_name"] == name)].set_index("feature")["value"]


def named(model: pd.DataFrame, kind: str) -> dict[str, float]:
    """The model's settings or diagnostics."""
    return model[model["parameter_type"] == kind].set_index("feature")["value"].to_dict()


def comparable_rows(model: pd.DataFrame) -> pd.DataFrame:
    """All rows except the model's name and the input hash of its training set."""
    return model[model["parameter_type"] != "data"].drop(columns="model_version")


def n_evaluated(rows: pd.DataFrame) -> int:
    """The number of validation users with a child in a stage in one of their months."""
    first = rows[(rows["split"] == "validation") & (rows["tenure_months"] == 0)]
    n_months = (THROUGH.year - first["month"].dt.year) * 12 + THROUGH.month - first["month"].dt.month + 1
    return sum(
        any(AGES.first <= age + n < AGES.stage_edges[-1] for n in range(months))
        for age, months in zip(first["age_months"], n_months, strict=True)
    )


def dense(rows: pd.DataFrame, matrix: dict[str, np.ndarray]) -> np.ndarray:
    values = np.zeros((len(rows), len(FEATURES)))
    values[matrix["row_no"] - 1, matrix["feature_id"] - 1] = matrix["value"]
    return values


@pytest.fixture(scope="module")
def tables():
    return training_tables(N_USERS)


@pytest.fixture(scope="module")
def plain(tables):
    return train(TrainingData(*tables), AGES, THROUGH, PLAIN)


@pytest.fixture(scope="module")
def tuned(tables):
    return train(TrainingData(*tables), AGES, THROUGH, TUNED)


def test_a_model_with_labels_from_age_words_is_named_after_them(tables, plain):
    rows, matrix, vocabulary = tables
    labelled = rows.assign(label=np.where(rows["user_no"] % 2 == 1, "age_words", "registration"))
    marked = train(TrainingData(labelled, matrix, vocabulary), AGES, THROUGH, PLAIN)
    assert marked["model_version"].iloc[0].startswith("age-words-2017-02-")
    counted = marked[marked["feature"] == "n_age_word_users"]["value"]
    assert list(counted) == [labelled.loc[labelled["label"] == "age_words", "user_no"].nunique()]
    assert "n_age_word_users" not in set(plain["feature"])


def test_the_rows_of_both_regressions_predict_what_scikit_learn_predicts(tables, monkeypatch):
    """At convergence, because the second regression begins at the weights of the first."""
    monkeypatch.setattr(regression, "TOLERANCE", 1e-6)
    plain, (rows, matrix, _) = train(TrainingData(*tables), AGES, THROUGH, PLAIN), tables
    values, age_bin = dense(rows, matrix), AGES.bin_of(rows["age_months"].to_numpy())
    trains = (rows["split"] == "train").to_numpy()
    this_month = [n for n, name in enumerate(FEATURES) if not name.startswith("last_year:")]
    trained_on = {
        "log_likelihood": (trains & rows["is_active"].to_numpy(), this_month),
        "memory_less": (trains, range(len(FEATURES))),
    }
    for name, (chosen, columns) in trained_on.items():
        coefficients, intercept, prior = (wide(plain, kind, name) for kind in ("coefficient", "intercept", "prior"))
        assert list(coefficients.index) == [FEATURES[n] for n in columns]
        counts = np.bincount(age_bin[chosen], minlength=len(AGES.bins))
        np.testing.assert_allclose(prior.to_numpy()[0], (counts + 0.5) / (counts + 0.5).sum(), atol=1e-12)
        X = values[np.ix_(chosen, columns)]
        logits = X @ coefficients.to_numpy() + intercept.to_numpy() + np.log(counts / counts.sum())
        theirs = sklearn_log_posterior(csr_matrix(X), age_bin[chosen])
        np.testing.assert_allclose(np.exp(log_softmax(logits)), np.exp(theirs), rtol=0, atol=1e-3)


def test_a_model_records_its_training_settings(tables, plain, tuned):
    rows, _, vocabulary = tables
    trains = rows[(rows["split"] == "train") & rows["is_active"]]
    assert named(plain, "setting")["inverse_penalty"] == C and "anchor_inverse_penalty" not in named(plain, "setting")
    assert (
        named(tuned, "setting")["anchor_inverse_penalty"] == 0.1 and named(tuned, "diagnostic")["filter_iterations"] > 0
    )
    assert named(plain, "diagnostic")["n_training_users"] == trains["user_no"].nunique()
    assert named(plain, "diagnostic")["n_validation_users"] == n_evaluated(rows)
    assert list(named(plain, "data").values()) == [len(trains)]
    support = vocabulary.set_index("feature")["n_rows"]
    assert wide_of_feature(plain, "support", "memory_less").to_dict() == support.to_dict()
    assert list(plain.columns) == COLUMNS and set(plain["trained_through"]) == {THROUGH}
    assert plain["model_version"].nunique() == 1 and plain["model_version"].iloc[0].startswith("2017-02-")


def test_end_to_end_training_changes_only_the_log_likelihoods(plain, tuned):
    for name in ("memory_less", "initial_prior"):
        kept = [model[(model["model_name"] == name) | (model["parameter_type"] == name)] for model in (plain, tuned)]
        pd.testing.assert_frame_equal(*(frame.drop(columns="model_version") for frame in kept), check_exact=True)
    for kind in ("coefficient", "intercept"):
        assert (wide(tuned, kind) - wide(plain, kind)).abs().to_numpy().max() > 0.05
        np.testing.assert_allclose(wide(tuned, kind).mean(axis=1), 0, atol=1e-12)


@pytest.mark.fault("Training", "training rows in another order", "bit-identical model")
def test_same_input_gives_the_same_bits_in_any_order(tables, tuned):
    rows, matrix, vocabulary = tables
    order = np.random.default_rng(3).permutation(len(matrix["value"]))
    shuffled = (
        rows.sample(frac=1, random_state=3),
        {name: column[order] for name, column in matrix.items()},
        vocabulary.sample(frac=1, random_state=4),
    )
    pd.testing.assert_frame_equal(train(TrainingData(*shuffled), AGES, THROUGH, TUNED), tuned, check_exact=True)


def test_a_finished_model_does_not_return_threads_while_others_train():
    """The number of threads changes the last bits of models trained in parallel in the same process."""
    with threadpool_limits(2):
        regression.fit(*sample(300), 3, C)
        assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} == {1}


def test_another_model_has_another_name(tables, tuned):
    rows, matrix, vocabulary = tables
    fewer = rows[rows["user_no"] != rows["user_no"].max()]
    left = matrix["row_no"] <= len(fewer)
    without_last = fewer, {name: column[left] for name, column in matrix.items()}, vocabulary
    others = [
        train(TrainingData(*without_last), AGES, THROUGH, TUNED),
        train(TrainingData(*tables), AGES, THROUGH, replace(TUNED, anchor_inverse_penalty=0.03)),
        train(TrainingData(*tables), AGES, date(2017, 3, 1), TUNED),
    ]
    names = [model["model_version"].iloc[0] for model in (tuned, *others)]
    assert len(set(names)) == len(names) and names[-1].startswith("2017-03-")


def test_a_scaled_value_gets_a_coefficient_for_the_unscaled_value(tables, tuned):
    """Bottles are in millilitres here: the matrix holds them divided by 500, the features do not."""
    rows, matrix, vocabulary = tables
    in_millilitres = vocabulary.assign(scale=np.where(vocabulary["feature"] == "bottle", 500.0, 1.0))
    model = train(TrainingData(rows, matrix, in_millilitres), AGES, THROUGH, TUNED)
    expected = wide(tuned, "coefficient")
    expected.loc["bottle"] /= 500
    pd.testing.assert_frame_equal(wide(model, "coefficient"), expected)
    for name in ("log_likelihood", "memory_less"):
        assert wide_of_feature(model, "scale", name)["bottle"] == 500
        assert wide_of_feature(model, "scale", name).drop("bottle").eq(1).all()


def changed(tables, of: pd.Series) -> tuple:
    """The tables with the features of some rows under other names, and their children half a year older or younger."""
    rows, matrix, vocabulary = tables
    met = of.to_numpy()[matrix["row_no"] - 1]
    other = np.where(met, len(FEATURES) + 1 - matrix["feature_id"], matrix["feature_id"])
    age = rows["age_months"].where(~of, 5 - rows["age_months"])
    return rows.assign(age_months=age), {**matrix, "feature_id": other}, vocabulary


def test_validation_users_change_the_calibration_and_no_trained_weight(tables, tuned):
    other = train(TrainingData(*changed(tables, tables[0]["split"] == "validation")), AGES, THROUGH, TUNED)
    is_read, is_read_in_other = (
        model["parameter_type"].isin(["setting", "diagnostic", "data"]) | (model["model_name"] == "readout")
        for model in (tuned, other)
    )
    assert is_read.equals(is_read_in_other)
    for model in (tuned[~is_read], other[~is_read]):
        assert {"coefficient", "intercept", "prior", "initial_prior"} <= set(model["parameter_type"])
    pd.testing.assert_frame_equal(
        *(model[~is_read].drop(columns="model_version") for model in (tuned, other)), check_exact=True
    )
    differ = {
        name
        for kind in ("setting", "diagnostic")
        for name, value in named(tuned, kind).items()
        if named(other, kind)[name] != value
    }
    readouts = {"tau", "gamma", "delta", "n_validation_users", "n_readout_users", "label_noise"}
    evaluated = {f"{name}_{when}" for name in ("log_loss", "calibration_error") for when in ("before", "after")}
    assert evaluated <= differ <= evaluated | readouts and differ & readouts


def test_test_users_change_nothing(tables, tuned):
    of_test = tables[0]["split"] == "test"
    rows, matrix, vocabulary = changed(tables, of_test)
    for other in ((rows, tables[1], vocabulary), (tables[0], matrix, vocabulary)):
        pd.testing.assert_frame_equal(train(TrainingData(*other), AGES, THROUGH, TUNED), tuned, check_exact=True)


def test_the_input_hash_depends_on_the_position_of_a_value(tables, tuned):
    rows, matrix, vocabulary = tables
    of_validation = (rows["split"] == "validation").to_numpy()[matrix["row_no"] - 1]
    ends = np.flatnonzero(
        of_validation & (np.diff(matrix["row_no"], append=-1) != 0) & (matrix["feature_id"] < len(FEATURES))
    )
    moved = matrix["feature_id"].copy()
    moved[ends[0]] += 1  # the last value of a row: the values alone are the same list
    model = train(TrainingData(rows, {**matrix, "feature_id": moved}, vocabulary), AGES, THROUGH, TUNED)
    assert named(model, "data") != named(tuned, "data")


@pytest.mark.fault("Training", "registered ages outside all stages", "user excluded from training")
def test_a_user_whose_child_is_never_within_the_age_bins_does_not_train(tables, tuned):
    """A birthday twenty years ago or ahead is wrong; one outside the bins in some months only is valid."""
    rows, matrix, vocabulary = tables
    is_wrong = rows["user_no"].isin(rows.loc[rows["split"] == "train", "user_no"].unique()[::9])
    ages = rows["age_months"].where(~is_wrong, rows["age_months"] + np.where(rows["user_no"] % 2 == 0, 240, -240))
    assert is_wrong.sum() > 100
    found = train(TrainingData(rows.assign(age_months=ages), matrix, vocabulary), AGES, THROUGH, TUNED)
    as_test_users = rows.assign(split=rows["split"].where(~is_wrong, "test"))
    pd.testing.assert_frame_equal(
        comparable_rows(found),
        comparable_rows(train(TrainingData(as_test_users, matrix, vocabulary), AGES, THROUGH, TUNED)),
        check_exact=True,
    )
    n_users = rows["user_no"][~is_wrong & (rows["split"] == "train") & rows["is_active"]].nunique()
    assert named(found, "diagnostic")["n_training_users"] == n_users
    grown = rows["user_no"] == rows.loc[(rows["split"] == "train") & (rows["age_months"] == 12), "user_no"].iloc[0]
    now_and_then = rows.assign(age_months=rows["age_months"].where(~grown, rows["age_months"] + 4))
    assert AGES.bin_of(now_and_then["age_months"][grown].to_numpy()).min() == -1
    kept = train(TrainingData(now_and_then, matrix, vocabulary), AGES, THROUGH, TUNED)
    assert named(kept, "diagnostic")["n_training_users"] == named(tuned, "diagnostic")["n_training_users"]


@pytest.mark.fault("Training", "training set too small", "no new model; message names both numbers")
def test_too_few_training_users_are_reported_with_both_numbers(tables):
    rows, matrix, _ = tables
    n_users = rows["user_no"][(rows["split"] == "train") & rows["is_active"]].nunique()
    with pytest.raises(NotTrainedError, match=f"{n_users} training users, training_min_users is {n_users + 1}"):
        train(TrainingData(*tables), AGES, THROUGH, replace(PLAIN, min_users=n_users + 1))
    assert not train(TrainingData(*tables), AGES, THROUGH, replace(PLAIN, min_users=n_users)).empty
    nothing = {name: column[:0] for name, column in matrix.items()}
    with pytest.raises(NotTrainedError, match="0 training users"):
        train(TrainingData(rows[:0], nothing, vocabulary_of(rows[:0], nothing)[:0]), AGES, THROUGH, PLAIN)


def test_the_initial_prior_is_the_age_distribution_when_users_were_first_seen():
    """Five users; when first seen, the youngest child is below all bins and the oldest above."""
    months = months_of([(-18, 2, [2, 0]), (2, 2, [2, 1]), (6, 5, [1]), (5, 5, [5, 4]), (40, 0, [0])])
    # first seen at -20, 0, 1, 0 and 40 months: not yet, baby, baby, baby, grown; half a user is added to every bin
    np.testing.assert_allclose(examples.initial_prior_of(months, AGES), np.array([1.5, 0.5, 3.5, 0.5, 1.5]) / 7.5)


def test_the_birth_hazard_is_the_monthly_rate_of_new_pregnancies():
    expecting_soon, expecting_late, expecting_all_the_time = (1, 6, [6, 5]), (-9, 6, [2]), (4, 6, [6])
    months = months_of([expecting_soon, expecting_late, expecting_all_the_time])
    # first seen at -5, -15, -2 months of an age that begins at -3; watched for 6 months
    began, at_risk = 1, 2 + 6
    assert examples.hazard_of(months, AGES) == pytest.approx((began + 0.008 * 200) / (at_risk + 200))
    assert examples.hazard_of(months[:0], AGES) == pytest.approx(0.008)


def test_too_few_validation_users_are_not_used_for_calibration(tables, monkeypatch):
    n_users = n_evaluated(tables[0])
    monkeypatch.setattr(training, "READOUT_USERS", n_users)  # no training users
    monkeypatch.setattr(training, "MIN_VALIDATION_USERS", n_users + 1)
    model = train(TrainingData(*tables), AGES, THROUGH, PLAIN)
    settings, diagnostics = named(model, "setting"), named(model, "diagnostic")
    assert (settings["tau"], settings["gamma"], settings["delta"]) == (1.3, 0.2, 0.02)
    assert diagnostics["n_validation_users"] == 0 and "log_loss_after" not in diagnostics
    monkeypatch.setattr(training, "MIN_VALIDATION_USERS", n_users)
    diagnostics = named(train(TrainingData(*tables), AGES, THROUGH, PLAIN), "diagnostic")
    assert diagnostics["log_loss_after"] < diagnostics["log_loss_before"]


# The training set.


def test_training_rows_are_the_months_of_users_with_one_child_from_their_first_on(base):
    months = base.frame("user_months")[["user_id", "month"]]
    labels = base.frame("stage_labels").query("n_children == 1")
    first = months.groupby("user_id")["month"].min().rename("first").reset_index()
    expected = labels.merge(months, on=["user_id", "month"]).merge(first, on="user_id")
    whole_months = lambda time: time.dt.year * 12 + time.dt.month  # noqa: E731
    expected["tenure_months"] = whole_months(expected["month"]) - whole_months(expected["first"])
    expected = expected.sort_values(["user_id", "month"], ignore_index=True)
    found = base.frame("training_rows").sort_values("row_no", ignore_index=True)
    shared = ["user_id", "month", "split", "age_months", "tenure_months"]
    pd.testing.assert_frame_equal(found[shared], expected[shared], check_dtype=False)
    assert found["row_no"].tolist() == list(range(1, len(expected) + 1)) and found["is_active"].all()
    assert found["user_no"].tolist() == (pd.factorize(expected["user_id"])[0] + 1).tolist()
    assert base.frame("stage_labels")["n_children"].max() > 1 and set(found["split"]) == {"train", "validation", "test"}


def test_too_many_users_are_sampled_deterministically(base):
    sql = next(base.folder.glob("target/compiled/**/training_rows.sql")).read_text()
    assert sql.count("40000") == 1
    columns = "user_id, month, split, age_months, is_active, tenure_months"
    everybody = set(base.query(f"select {columns} from training_rows"))
    n_users, before = len({row[0] for row in everybody}), set()
    for n_wanted in (20, 60, 100, 1000):
        sampled = base.query(f"select {columns}, row_no from ({sql.replace('40000', str(n_wanted))}) order by row_no")
        rows = {row[:-1] for row in sampled}
        users = {row[0] for row in rows}
        assert rows == {row for row in everybody if row[0] in users}, "a user is torn apart"
        assert before <= users and len(users) == min(n_wanted, n_users)
        assert [row[-1] for row in sampled] == list(range(1, len(rows) + 1))
        before = users
    assert n_users > 100 and {row[2] for row in everybody if row[0] in before} == {"train", "validation", "test"}


def test_the_matrix_is_the_features_of_the_vocabulary_on_their_scale(base):
    features, vocabulary = base.frame("training_features"), base.frame("training_vocabulary")
    rows = base.frame("training_rows")
    met = rows.merge(base.frame("user_month_features"), on=["user_id", "month"])
    expected = met[["row_no", "feature", "value"]].sort_values(["row_no", "feature"], ignore_index=True)
    found = features.sort_values(["row_no", "feature"], ignore_index=True)
    pd.testing.assert_frame_equal(found[expected.columns.tolist()], expected, check_dtype=False)

    trains = (
        met[met["split"] == "train"]
        .groupby("feature")
        .agg(n_rows=("value", "size"), days=("n_days", "count"), largest=("value", lambda value: value.abs().max()))
    )
    trains = trains[trains["n_rows"] >= SMALL["training_min_feature_support"]].sort_index()
    scale = trains["largest"].where(trains["days"] == 0, 1.0)
    vocabulary = vocabulary.sort_values("feature_id")
    assert vocabulary["feature_id"].tolist() == list(range(1, len(trains) + 1))
    assert vocabulary["feature"].tolist() == trains.index.tolist()
    assert vocabulary["n_rows"].tolist() == trains["n_rows"].tolist()
    np.testing.assert_allclose(vocabulary["scale"], scale, rtol=0, atol=1e-12)
    assert (scale != 1).any(), "no family gives values of its own"

    cells = expected.merge(vocabulary, on="feature")
    cells["value"] /= cells["scale"]
    order = ["row_no", "feature_id"]
    left, right = (frame.sort_values(order, ignore_index=True) for frame in (base.frame("design_matrix"), cells))
    pd.testing.assert_frame_equal(left[[*order, "value"]], right[[*order, "value"]], check_dtype=False)


# When training is due, and with which regularisation.


class Warehouse:
    """The input relations of train_if_due; the newest closed month is 2017-02, March is open."""

    def __init__(self, tables) -> None:
        self.connection = duckdb.connect()
        names = ("rows", "matrix", "vocabulary")
        frames = dict(zip(names, (tables[0], pd.DataFrame(tables[1]), tables[2]), strict=True))
        for division, number, names, edges in (
            ("age_bin", "bin_no", AGES.bins, AGES.bin_edges),
            ("stage", "stage_no", AGES.stages, AGES.stage_edges),
        ):
            columns = {number: range(len(names)), division: names, "from_month": edges[:-1], "to_month": edges[1:]}
            frames[f"{division}s"] = pd.DataFrame(columns).sample(frac=1, random_state=1)
        self.relations = {name: self.connection.from_df(frame) for name, frame in frames.items()}
        months = "(values (date '2017-02-01', true), (date '2017-03-01', false), (date '2017-01-01', true))"
        self.relations["calendar"] = self.connection.sql(f"from {months} as v(month, is_closed)")

    def train_if_due(self, known: pd.DataFrame | None = None, **options) -> pd.DataFrame:
        defaults = {"min_users": 10, "every_months": 1, "fine_tuning": True, "tune_penalties": False}
        known = None if known is None else self.connection.from_df(known)
        table = train_if_due(**self.relations, known=known, options=defaults | options)
        assert table.column_names == COLUMNS
        return table.to_pandas()


@pytest.fixture
def warehouse(tables):
    return Warehouse(tables)


def test_a_build_passes_the_values_of_the_vars(base):
    """Numbers and booleans, not texts: a text "False" would be true, and "True" is not True."""
    compiled = next(base.folder.glob("target/compiled/**/stage_coefficients.py")).read_text()
    options = ast.literal_eval(re.search(r"^meta_dict = (.*)$", compiled, flags=re.MULTILINE).group(1))["options"]
    handed_over = SMALL["training_min_users"], SMALL["training_every_months"], True, False
    assert list(options.values()) == list(handed_over)
    assert [type(value) for value in options.values()] == [int, int, bool, bool]
    settings = base.query(
        "select value from stage_coefficients where parameter_type = 'setting' and feature = 'anchor_inverse_penalty'"
    )
    assert len(settings) == 1, "the base was trained without filter tuning"


def older(model: pd.DataFrame, **settings) -> pd.DataFrame:
    """The model as if trained through January, with other settings."""
    changed = model.assign(trained_through=date(2017, 1, 1), model_version="2017-01-older")
    for name, value in settings.items():
        changed.loc[(changed["parameter_type"] == "setting") & (changed["feature"] == name), "value"] = value
    return changed


@pytest.mark.parametrize(
    ("last_closed", "newest", "every_months", "due"),
    [
        (None, None, 1, False),  # no month is closed
        (date(2017, 2, 1), None, 1, True),  # the first model
        (date(2017, 2, 1), None, 0, True),  # 0 disables retraining, not the first training
        (date(2017, 2, 1), date(2017, 1, 1), 1, True),
        (date(2017, 2, 1), date(2017, 2, 1), 1, False),  # this month has a model
        (date(2017, 2, 1), date(2016, 12, 1), 3, False),
        (date(2017, 3, 1), date(2016, 12, 1), 3, True),  # over the turn of the year
        (date(2017, 3, 1), date(2016, 12, 1), 0, False),
        (date(2016, 12, 1), date(2017, 2, 1), 1, False),  # the source lost months
    ],
)
def test_training_is_due(last_closed, newest, every_months, due):
    assert is_due(last_closed, newest, every_months) is due


def test_no_model_is_added_while_training_is_not_due(warehouse, tuned):
    assert warehouse.train_if_due(known=tuned).empty
    assert warehouse.train_if_due(known=older(tuned), every_months=0).empty
    assert warehouse.train_if_due(known=older(tuned), every_months=2).empty
    assert not warehouse.train_if_due(known=older(tuned)).empty


def test_a_retraining_trigger_gives_an_early_model_only_with_a_new_month_and_retraining_enabled(
    warehouse, tuned, capsys
):
    facts = "'drift' as reason, date '2017-02-01' as month, 'leaf' as measure, 0.5 as value, 0.3 as threshold"
    warehouse.relations["retraining_triggers"] = warehouse.connection.sql(f"select {facts}")
    assert warehouse.train_if_due(known=tuned, every_months=2).empty
    assert warehouse.train_if_due(known=older(tuned), every_months=0).empty
    assert not warehouse.train_if_due(known=older(tuned), every_months=2).empty
    assert "early retraining: drift of leaf in 2017-02 is 0.500, limit 0.300" in capsys.readouterr().err
    warehouse.relations["retraining_triggers"] = warehouse.relations["retraining_triggers"].filter("false")
    assert warehouse.train_if_due(known=older(tuned), every_months=2).empty


def test_the_new_model_is_the_one_trained_on_all_closed_months(warehouse, tables, capsys):
    model = warehouse.train_if_due()
    assert "stage_coefficients: calibrated the readout" in capsys.readouterr().err
    expected = train(TrainingData(*tables), AGES, THROUGH, Options(10))
    pd.testing.assert_frame_equal(model, expected, check_dtype=False, check_exact=True)


@pytest.mark.fault(
    "Training",
    "single class, too few rows, no convergence",
    "LS-ML-002 names the cause, older model stays in use",
)
def test_too_little_training_data_adds_no_rows_and_names_the_cause(warehouse, tuned, capsys):
    for known in (None, older(tuned)):
        assert warehouse.train_if_due(known=known, min_users=5000).empty
        predicted = capsys.readouterr().err
        assert "LS-ML-002 no new model: " in predicted and "training users, training_min_users is 5000" in predicted


def test_a_new_model_has_the_regularisation_of_the_newest_one(warehouse, tuned, monkeypatch):
    for name in ("choose_inverse_penalty", "choose_anchor_inverse_penalty"):
        monkeypatch.setattr(regularisation, name, lambda *_: pytest.fail("regularisation were chosen anew"))
    newest = older(tuned, inverse_penalty=0.17, anchor_inverse_penalty=0.07)
    oldest = older(tuned, inverse_penalty=9.0, anchor_inverse_penalty=9.0).assign(trained_through=date(2016, 12, 1))
    found = named(warehouse.train_if_due(known=pd.concat([newest, oldest])), "setting")
    assert (found["inverse_penalty"], found["anchor_inverse_penalty"]) == (0.17, 0.07)


def test_the_search_for_a_new_model_begins_at_the_weights_of_the_newest_one(warehouse, plain):
    """On the same rows it ends there at once."""
    again = warehouse.train_if_due(known=older(plain), fine_tuning=False)
    assert named(again, "diagnostic")["regression_iterations"] <= 1
    np.testing.assert_allclose(wide(again, "coefficient"), wide(plain, "coefficient"), rtol=0, atol=1e-3)


def test_regularisation_is_selected_for_the_first_model_and_on_request(warehouse, tuned, monkeypatch):
    monkeypatch.setattr(regularisation, "choose_inverse_penalty", lambda *_: 0.17)
    monkeypatch.setattr(regularisation, "choose_anchor_inverse_penalty", lambda *_: 0.07)
    for known, tune_penalties in ((None, False), (older(tuned), True)):
        found = named(warehouse.train_if_due(known=known, tune_penalties=tune_penalties), "setting")
        assert (found["inverse_penalty"], found["anchor_inverse_penalty"]) == (0.17, 0.07)


def test_a_model_after_one_without_filter_tuning_is_tuned_again(warehouse, plain, monkeypatch):
    monkeypatch.setattr(regularisation, "choose_anchor_inverse_penalty", lambda *_: 0.07)
    found = named(warehouse.train_if_due(known=older(plain)), "setting")
    assert (found["inverse_penalty"], found["anchor_inverse_penalty"]) == (C, 0.07)


def test_a_regression_that_was_better_alone_is_not_fine_tuned_every_month(warehouse, tuned, monkeypatch):
    monkeypatch.setattr(
        regularisation,
        "choose_anchor_inverse_penalty",
        lambda *_: pytest.fail("the anchor_inverse_penalty was chosen anew"),
    )
    assert (
        named(warehouse.train_if_due(known=older(tuned, anchor_inverse_penalty=0.0)), "setting")[
            "anchor_inverse_penalty"
        ]
        == 0
    )


def test_without_filter_tuning_the_log_likelihoods_are_those_of_the_regression(warehouse, tables, plain, monkeypatch):
    monkeypatch.setattr(regularisation, "choose_inverse_penalty", lambda *_: C)
    monkeypatch.setattr(train_through_filter, "fine_tune", lambda *_: pytest.fail("trained through the filter"))
    model = warehouse.train_if_due(fine_tuning=False)
    pd.testing.assert_frame_equal(model, plain, check_dtype=False, check_exact=True)
