"""Scores of the stateless baseline: softmax of the features of a month and the same month last year.

Only users active in either month have scores."""

import duckdb
import numpy as np
import pandas as pd
import pytest

from life_stage.filtering import scoring
from life_stage.filtering.scoring import score

KEYS = ["user_id", "month"]
BINS = ["young", "middle", "old"]
MONTHS = pd.date_range("2016-01-01", "2017-02-01", freq="MS")
FEBRUARY, YEAR_BEFORE, JANUARY = "2017-02-01", "2016-02-01", "2017-01-01"
# Features of the model with their weights for young, middle and old.
HEAD = {"": (0.0, 0.5, -0.5), "crib": (2.0, 0.0, -2.0), "last_year:crib": (-1.0, 2.0, -1.0), "bike": (-1.0, 0.0, 1.0)}
PRIOR = (0.5, 0.3, 0.2)


def model_rows(weights: dict[str, tuple], prior=PRIOR, version="v1", regression="memory_less") -> list[tuple]:
    """Rows of stage_coefficients; the weights of '' are the intercept."""
    kinds = {name: "coefficient" if name else "intercept" for name in weights}
    rows = [(kinds[name], name, *row) for name, row in weights.items()] + [("prior", "", *prior)]
    return [
        (version, regression, kind, name, age_bin, value)
        for kind, name, *values in rows
        for age_bin, value in zip(BINS, values, strict=True)
    ]


class Shop:
    """The input relations of scoring."""

    def __init__(
        self, features: list[tuple], coefficients: list[tuple], models: dict[str, str], user_months: list[tuple] = ()
    ) -> None:
        """user_months: in addition to those with features."""
        self.session = duckdb.connect()
        active = dict.fromkeys([*((user, str(month)[:10]) for user, month, *_ in features), *user_months])
        columns = ["model_version", "model_name", "parameter_type", "feature", "age_bin", "value"]
        frames = {
            "features": pd.DataFrame(features, columns=[*KEYS, "feature", "value"]).astype({"month": "datetime64[us]"}),
            "user_months": pd.DataFrame([*active], columns=KEYS),
            "coefficients": pd.DataFrame(coefficients, columns=columns).sample(frac=1, random_state=1),
            "models": pd.DataFrame(models.items(), columns=["month", "model_version"]),
            "age_bins": pd.DataFrame({"bin_no": [3, 1, 2], "age_bin": ["old", "young", "middle"]}),
        }
        for name, frame in frames.items():
            dated = "* replace (cast(month as date) as month)" if "month" in frame else "*"
            self.session.register("frame", frame)
            self.session.execute(f"create table {name} as select {dated} from frame")
        self.relations = {name: self.session.table(name) for name in frames}

    def score(self, month: str = FEBRUARY) -> pd.DataFrame:
        reader = score(self.session, **self.relations, month=month)
        assert reader.schema.names == [*KEYS, "model_version", *(f"bin_{name}" for name in BINS)]
        return reader.read_all().to_pandas()


def predicted(frame: pd.DataFrame) -> np.ndarray:
    return frame[[f"bin_{name}" for name in BINS]].to_numpy()


def softmax(logits) -> np.ndarray:
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True)


def oracle(features: pd.DataFrame, coefficients: pd.DataFrame, month: str, bins: list[str]) -> pd.DataFrame:
    """softmax(X @ W + b + log prior) for the users with features in the month or a year before, one row each."""
    trained = coefficients[coefficients["model_name"] == "memory_less"]
    W = trained[trained["parameter_type"] == "coefficient"].pivot(index="feature", columns="age_bin", values="value")[
        bins
    ]
    b, prior = (
        trained[trained["parameter_type"] == kind].set_index("age_bin")["value"][bins]
        for kind in ("intercept", "prior")
    )
    year_before = pd.Timestamp(month) - pd.DateOffset(years=1)
    last_year = features[features["month"] == year_before]
    met = pd.concat(
        [features[features["month"] == month], last_year.assign(feature="last_year:" + last_year["feature"])]
    )
    X = met.pivot(index="user_id", columns="feature", values="value").reindex(columns=W.index).fillna(0).sort_index()
    logits = X.to_numpy() @ W.to_numpy() + b.to_numpy() + np.log(prior.to_numpy())
    return pd.DataFrame(softmax(logits), index=X.index, columns=[f"bin_{name}" for name in bins])


def test_scores_can_be_checked_by_hand():
    features = [
        ("this month", FEBRUARY, "crib", 1.0),
        ("last year", YEAR_BEFORE, "crib", 1.0),
        ("both", FEBRUARY, "crib", 0.5),
        ("both", FEBRUARY, "bike", 2.0),
        ("both", YEAR_BEFORE, "crib", 1.5),
        ("unknown", FEBRUARY, "drone", 4.0),
        ("bike last year", YEAR_BEFORE, "bike", 1.0),  # which is not in the model's vocabulary
        ("another month", JANUARY, "crib", 1.0),
        ("two years ago", "2015-02-01", "crib", 1.0),
    ]
    without_features = [("acted", FEBRUARY), ("acted last year", YEAR_BEFORE), ("acted before", JANUARY)]
    others = model_rows({name: (9.0, 9.0, -9.0) for name in HEAD}, version="v2")
    log_likelihood = model_rows({name: (-9.0, 9.0, 9.0) for name in HEAD}, regression="log_likelihood")
    models = {FEBRUARY: "v1", JANUARY: "v2"}
    found = Shop(features, model_rows(HEAD) + others + log_likelihood, models, without_features).score()
    logits = np.array(HEAD[""]) + np.log(PRIOR)
    expected = {
        "acted": [0, 0, 0],
        "acted last year": [0, 0, 0],
        "bike last year": [0, 0, 0],
        "both": [0.5 * 2 - 2 - 1.5, 1.5 * 2, -0.5 * 2 + 2 - 1.5],
        "last year": [-1, 2, -1],
        "this month": [2, 0, -2],
        "unknown": [0, 0, 0],
    }
    assert found["user_id"].tolist() == list(expected)
    np.testing.assert_allclose(predicted(found), softmax(logits + np.array([*expected.values()])), rtol=1e-6)
    assert set(found["model_version"]) == {"v1"} and set(found["month"].astype(str)) == {FEBRUARY}


@pytest.fixture(scope="module")
def random_shop():
    """60 users, 14 months, 30 features with 25 in the vocabulary, this month's and last year's."""
    random = np.random.default_rng(5)
    names = [f"leaf={n}" for n in range(30)]
    features = [
        (f"user {user}", month, name, random.normal() if name == "leaf=7" else np.log1p(random.integers(1, 29)))
        for user in range(60)
        for month in MONTHS
        if random.random() < 0.4
        for name in random.choice(names, random.integers(1, 12), replace=False)
    ]
    known = ["", *names[:25], *(f"last_year:{name}" for name in names[:25])]
    weights = {name: tuple(random.normal(size=3)) for name in known}
    return features, model_rows(weights)


@pytest.mark.parametrize("month", [FEBRUARY, "2017-01-01", "2016-12-01"])
def test_scores_of_random_users_are_the_softmax_of_observed_features(random_shop, month):
    features, coefficients = random_shop
    shop = Shop(features, coefficients, {month: "v1"})
    found = shop.score(month)
    tables = (shop.relations[name].df() for name in ("features", "coefficients"))
    expected = oracle(*tables, month, BINS)
    assert found["user_id"].tolist() == list(expected.index) and len(found) > 10
    np.testing.assert_allclose(predicted(found), expected, rtol=1e-6)  # single precision
    np.testing.assert_allclose(predicted(found).sum(axis=1), 1, rtol=1e-6)
    active = {
        user for user, met_in, *_ in features if str(met_in)[:7] in (month[:7], f"{int(month[:4]) - 1}{month[4:7]}")
    }
    assert set(found["user_id"]) == active
    only_last_year = active - {user for user, met_in, *_ in features if str(met_in)[:7] == month[:7]}
    assert (len(only_last_year) > 0) == (month > "2016-12-01")


def test_users_in_several_batches_are_scored_as_in_one(random_shop, monkeypatch):
    at_once = Shop(*random_shop, {FEBRUARY: "v1"}).score()
    monkeypatch.setattr(scoring, "USERS_PER_BATCH", 2)
    shop = Shop(*random_shop, {FEBRUARY: "v1"})
    batches = list(score(shop.session, **shop.relations, month=FEBRUARY))
    assert len(batches) > 10 and all(batch.num_rows in (1, 2) for batch in batches)
    pd.testing.assert_frame_equal(shop.score(), at_once, check_exact=True)


def test_without_a_model_there_are_no_rows_but_all_columns(random_shop):
    assert Shop(*random_shop, {JANUARY: "v1"}).score().empty
    assert Shop([], random_shop[1], {FEBRUARY: "v1"}).score().empty


def test_scores_of_the_demo_are_the_softmax_of_observed_features(base):
    found = base.frame("stage_scores")
    bins = [name for (name,) in base.query("select age_bin from age_bins order by bin_no")]
    features, coefficients = base.frame("user_month_features"), base.frame("stage_coefficients")
    for month, rows in found.groupby("month"):
        expected = oracle(features, coefficients, str(month)[:10], bins)
        scores = rows.set_index("user_id")[expected.columns].sort_index()
        assert list(scores.index) == list(expected.index)
        np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert found["month"].nunique() == 8 and len(found) > 1000
    assert (coefficients["feature"].str.startswith("last_year:")).sum() == 0, "eight months have no year before"


def test_users_are_scored_who_acted_in_the_month_or_a_year_before(base):
    active = "select user_id, month from user_months"
    wanted = f"{active} union select user_id, cast(month + interval 1 year as date) from user_months"
    wanted = f"select user_id, month from ({wanted}) inner join month_model_assignments using (month)"
    scored = "select user_id, month from stage_scores"
    assert base.query(f"({wanted}) except ({scored})") == [] == base.query(f"({scored}) except ({wanted})")
    bins = " + ".join(f"bin_{name}" for (name,) in base.query("select age_bin from age_bins"))
    assert base.query(f"select count(*) from stage_scores where not abs({bins} - 1) < 1e-6") == [(0,)]
