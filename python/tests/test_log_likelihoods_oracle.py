"""user_month_features and stage_log_likelihoods against pandas and NumPy.

Features are counted days, log-likelihoods their matrix product with the weights; attributions sum to them.
"""

import duckdb
import numpy as np
import pandas as pd
import pytest

from life_stage.readout.readout import day_kinds

KEYS = ["user_id", "month"]


def counted_days(actions: pd.DataFrame, items: pd.DataFrame, terms: pd.DataFrame) -> pd.DataFrame:
    """Distinct days per user, month and feature, from the valid actions."""
    of_items = actions.merge(items, on="item_id")
    stronger = of_items[of_items["action"] != "click"]
    stronger = stronger.assign(feature=stronger["feature"] + ":" + stronger["action"])
    met = pd.concat([of_items, stronger, actions.merge(terms, on="search_term")])
    days = met.assign(day=met["occurred_at"].dt.floor("D"))[[*KEYS, "feature", "day"]].drop_duplicates()
    return days.groupby([*KEYS, "feature"]).size().rename("n_days").reset_index()


def linear_log_likelihood(
    features: pd.DataFrame, coefficients: pd.DataFrame, users: pd.DataFrame, bins: list
) -> np.ndarray:
    """X @ W + intercept for the rows of `users`, with the features in the model's vocabulary."""
    of_log_likelihood = coefficients[coefficients["model_name"] == "log_likelihood"]
    vocabulary = of_log_likelihood[of_log_likelihood["parameter_type"] == "coefficient"]
    weights = vocabulary.pivot(index="feature", columns="age_bin", values="value")
    intercept = of_log_likelihood[of_log_likelihood["parameter_type"] == "intercept"].set_index("age_bin")["value"]
    values = features.pivot_table(index=KEYS, columns="feature", values="value", fill_value=0)
    X = values.reindex(index=pd.MultiIndex.from_frame(users[KEYS]), columns=weights.index, fill_value=0)
    return X.to_numpy(dtype=float) @ weights[bins].to_numpy() + intercept[bins].to_numpy()


def frame_of(shop, sql: str) -> pd.DataFrame:
    with duckdb.connect(shop.warehouse, read_only=True) as connection:
        return connection.execute(sql).df()


@pytest.fixture(scope="module")
def bins(base):
    return [name for (name,) in base.query("select age_bin from age_bins order by bin_no")]


@pytest.fixture(scope="module")
def actions(base):
    return frame_of(base, "select user_id, month, occurred_at, action, item_id, search_term from stg_actions")


def test_features_are_days_counted_from_valid_actions(base, actions):
    expected = counted_days(actions, base.frame("item_features"), base.frame("search_term_features"))
    expected["value"] = np.log1p(expected["n_days"])
    counts = actions.groupby([*KEYS, "action"]).size().rename("n").reset_index()
    given = counts[KEYS].assign(feature="n_actions=" + counts["action"], value=np.log1p(counts["n"]))
    found = frame_of(base, "select user_id, month, feature, n_days::double as n_days, value from user_month_features")
    order = [*KEYS, "feature"]
    left, right = (f.sort_values(order, ignore_index=True) for f in (found, pd.concat([expected, given])))
    pd.testing.assert_frame_equal(left, right, check_dtype=False, check_exact=False, rtol=0, atol=1e-12)
    kinds = left["feature"].str.replace(r"=[^:]*", "=", regex=True)
    of_items = ("category=", "leaf=", "brand=", "size=", "property=", "title_age=")
    assert {f"{kind}{action}" for kind in of_items for action in ("", ":collect", ":cart", ":purchase")} <= set(kinds)
    assert {"search_age=", "search_word=", "n_actions="} <= set(kinds)
    assert not kinds.str.endswith(":click").any()


def test_log_likelihood_is_the_matrix_product_of_days_and_weights(base, bins):
    found = base.frame("stage_log_likelihoods").sample(500, random_state=1)
    features = base.frame("user_month_features")
    for version, rows in found.groupby("model_version"):
        coefficients = base.frame("stage_coefficients", f"model_version = '{version}'")
        expected = linear_log_likelihood(features, coefficients, rows, bins)
        np.testing.assert_allclose(rows[[f"ll_{name}" for name in bins]], expected, rtol=0, atol=1e-6)
    assert features[~features["feature"].isin(coefficients["feature"])].size > 0, "the model knows every feature"


def test_no_active_user_is_missing(base):
    closed = "select month from month_calendar where is_closed"
    active = f"select distinct user_id, month from stg_actions where month in ({closed})"
    for table in ("user_months", "stage_log_likelihoods"):
        rows = f"select user_id, month from {table}"
        assert base.query(f"({active}) except ({rows})") == [] == base.query(f"({rows}) except ({active})")
        assert base.query(f"select count(*) - count(distinct (user_id, month)) from {table}") == [(0,)]


class SmallWarehouse:
    """The tables that stage_log_likelihoods reads, a few rows each, and its compiled SQL for one month."""

    def __init__(self, base, bins) -> None:
        self.connection, self.bins = duckdb.connect(), bins
        self.connection.execute("attach ':memory:' as warehouse")
        names = ("stage_log_likelihoods",)
        self.sql = {name: next(base.folder.glob(f"target/compiled/**/{name}.sql")).read_text() for name in names}

    def put(self, name: str, frame: pd.DataFrame) -> None:
        self.connection.register("frame", frame)
        self.connection.execute(f"create or replace table warehouse.main.{name} as from frame")

    def rows(self, name: str) -> list[tuple]:
        """The rows of a model for February."""
        sql = self.sql[name].replace("__month__", "2017-02-01").replace("__model_version__", "v1")
        return self.connection.execute(sql).fetchall()

    def log_likelihood(self, actions, features, weights, items=(), terms=()) -> dict[str, list[float]]:
        """{user: [out-of-vocabulary share, log-likelihood per bin]}.

        actions: rows (user, month, item, search term); weights: rows (model, feature, weight of the first bin), which
        the n-th bin has n times.
        """
        multiples = np.arange(1, len(self.bins) + 1)
        wide = [[model, feature, *(weight * multiples)] for model, feature, weight in weights]
        self.put("stg_actions", pd.DataFrame(actions, columns=[*KEYS, "item_id", "search_term"], dtype=object))
        self.put("item_features", pd.DataFrame(items, columns=["item_id", "feature"], dtype=str))
        self.put("search_term_features", pd.DataFrame(terms, columns=["search_term", "feature"], dtype=str))
        self.put("user_month_features", pd.DataFrame(features, columns=[*KEYS, "feature", "value"]))
        columns = ["model_version", "feature", *[f"w_{name}" for name in self.bins]]
        marks = {
            "counts_days": [name.startswith("leaf=") and ":" not in name for _, name, _ in weights],
            "counts_unspecific_days": [name.endswith("plain") for _, name, _ in weights],
            "counts_purchase_days": [name.endswith(":purchase") for _, name, _ in weights],
        }
        marks = {name: np.array(values, int) for name, values in marks.items()}
        self.put("model_weights", pd.DataFrame(wide, columns=columns).assign(**marks))
        found = self.rows("stage_log_likelihoods")
        self.days = {row[0]: row[4 + len(self.bins) :] for row in found}
        return {row[0]: list(row[3 : 4 + len(self.bins)]) for row in found}


@pytest.fixture
def small(base, bins):
    return SmallWarehouse(base, bins)


FEBRUARY = pd.Timestamp("2017-02-01").date()
JANUARY = pd.Timestamp("2017-01-01").date()


def test_the_sum_can_be_checked_by_hand(small, bins):
    weights = [("v1", "", 0.5), ("v1", "leaf=a", 2.0), ("v1", "leaf=b", -1.0)]
    weights += [("v2", "", 100.0), ("v2", "leaf=a", 100.0)]
    features = [("anna", FEBRUARY, "leaf=a", 1), ("anna", FEBRUARY, "leaf=b", 3), ("anna", JANUARY, "leaf=a", 9)]
    actions = [("anna", FEBRUARY, "1", None), ("anna", JANUARY, "1", None), ("bea", JANUARY, "1", None)]
    found = small.log_likelihood(actions, features, weights)
    assert list(found) == ["anna"], "a user of another month is here"
    expected = [(n + 1) * (0.5 + 1 * 2.0 + 3 * -1.0) for n in range(len(bins))]
    np.testing.assert_allclose(found["anna"][1:], expected, rtol=0, atol=1e-9)


def test_sums_of_days_can_be_checked_by_hand(small):
    features = [
        ("anna", FEBRUARY, f"leaf={name}", n) for name, n in {"a": 1, "plain": 4, "a:purchase": 2, "new": 8}.items()
    ]
    features += [("anna", FEBRUARY, "brand=a", 16), ("anna", JANUARY, "leaf=a", 32)]
    weights = [("v1", name, 1.0) for name in ("", "leaf=a", "leaf=plain", "leaf=a:purchase", "brand=a")]
    small.log_likelihood([("anna", FEBRUARY, "1", None), ("bea", FEBRUARY, "1", None)], features, weights)
    assert small.days == {"anna": (5, 4, 2), "bea": (0, 0, 0)}


def test_marks_of_days_are_those_of_the_training(base):
    weights = base.frame("model_weights", "feature <> ''")
    columns = [name for name in weights.columns if name.startswith("w_")]
    marks = weights[["counts_days", "counts_unspecific_days", "counts_purchase_days"]].to_numpy()
    np.testing.assert_array_equal(marks, day_kinds(list(weights["feature"]), weights[columns].to_numpy()))
    assert 0 < marks[:, 1].sum() < marks[:, 0].sum()


def test_unseen_features_contribute_nothing_and_no_user_is_lost(small, bins):
    actions = [(user, FEBRUARY, "1", None) for user in ("known", "unknown", "both", "none")]
    features = [("known", FEBRUARY, "leaf=a", 2), ("unknown", FEBRUARY, "leaf=new", 5)]
    features += [("both", FEBRUARY, "leaf=a", 2), ("both", FEBRUARY, "leaf=new", 5)]
    found = small.log_likelihood(actions, features, [("v1", "", 0.5), ("v1", "leaf=a", 2.0)])
    assert sorted(found) == ["both", "known", "none", "unknown"]
    assert found["both"] == found["known"]
    assert found["unknown"][1:] == found["none"][1:] == [0.5 * (n + 1) for n in range(len(bins))]


def test_the_share_out_of_vocabulary_can_be_checked_by_hand(small):
    items = [("crib", "leaf=cribs"), ("crib", "brand=new"), ("gadget", "brand=new"), ("gadget", "leaf=gadgets")]
    terms = [("crib", "search_word=crib"), ("what", "search_word=what")]
    bought = [("crib", None)] * 2 + [("gadget", None), ("lost item", None), (None, "crib"), (None, "what")]
    actions = [("anna", FEBRUARY, *what) for what in bought]
    actions += [("bea", FEBRUARY, None, "what"), ("carl", FEBRUARY, "crib", None), ("anna", JANUARY, "crib", None)]
    # the vocabulary of v1 has cribs and the word crib; that of v2 is irrelevant, as are features without occurrence
    weights = [("v1", name, 1.0) for name in ("", "leaf=cribs", "search_word=crib", "leaf=shoes")]
    found = small.log_likelihood(actions, [], [*weights, ("v2", "leaf=gadgets", 1.0)], items, terms)
    assert {user: row[0] for user, row in found.items()} == {"anna": pytest.approx(3 / 6), "bea": 1, "carl": 0}


def test_log_likelihood_of_random_users_is_the_matrix_product_with_the_same_bits_in_any_order(small, bins):
    random = np.random.default_rng(3)
    names = [f"leaf={n}" for n in range(60)]
    actions = [(f"user {n}", FEBRUARY, "1", None) for n in range(40)]
    met = [(user, month, name) for user, month, *_ in actions for name in random.choice(names, 25, replace=False)]
    features = [(*key, float(np.log1p(random.integers(1, 29)))) for key in met]
    weights = [("v1", name, random.normal()) for name in ["", *names[:50]]]
    found = small.log_likelihood(actions, features, weights)
    values = pd.DataFrame(features, columns=[*KEYS, "feature", "value"])
    values = values.pivot(index="user_id", columns="feature", values="value")
    known = values.reindex(columns=names[:50]).fillna(0)
    first_bin = known.to_numpy() @ [weight for _, _, weight in weights[1:]] + weights[0][2]
    expected = first_bin[:, None] * np.arange(1, len(bins) + 1)
    np.testing.assert_allclose([found[user][1:] for user in known.index], expected, rtol=0, atol=1e-6)
    assert small.log_likelihood(actions, [features[n] for n in random.permutation(len(features))], weights) == found


def test_the_share_out_of_vocabulary_counts_actions_without_a_feature_that_the_model_knows(base, actions):
    vocabulary = base.frame("model_weights")["feature"]
    known_items, known_terms = (
        features.loc[features["feature"].isin(vocabulary), column]
        for features, column in (
            (base.frame("item_features"), "item_id"),
            (base.frame("search_term_features"), "search_term"),
        )
    )
    is_known = actions["item_id"].isin(known_items) | actions["search_term"].isin(known_terms)
    expected = (1 - is_known.groupby([actions["user_id"], actions["month"]]).mean()).sort_index()
    found = base.frame("stage_log_likelihoods").set_index(KEYS)["out_of_vocabulary_share"].sort_index()
    assert 0 < expected.mean() < 1 and expected.nunique() > 10
    np.testing.assert_allclose(found, expected.loc[found.index], rtol=0, atol=1e-6)
    assert len(found) == len(expected)


@pytest.fixture(scope="module")
def stages(base):
    """{stage: {bin: its months}}."""
    bins = base.query("select age_bin, from_month, to_month from age_bins order by bin_no")
    stages = base.query("select stage, from_month, to_month from stages order by stage_no")
    return {
        stage: {name: high - low for name, low, high in bins if first <= low < last} for stage, first, last in stages
    }
