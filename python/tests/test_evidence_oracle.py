"""user_month_features and stage_evidence against pandas and NumPy: counted days, and a plain matrix product of them."""

import duckdb
import numpy as np
import pandas as pd
import pytest

KEYS = ["user_id", "month"]


def counted_days(actions: pd.DataFrame, items: pd.DataFrame, terms: pd.DataFrame) -> pd.DataFrame:
    """Distinct days per user, month and feature, straight from the clean actions."""
    of_items = actions.merge(items, on="item_id")
    stronger = of_items[of_items["action"] != "click"]
    stronger = stronger.assign(feature=stronger["feature"] + ":" + stronger["action"])
    met = pd.concat([of_items, stronger, actions.merge(terms, on="search_term")])
    days = met.assign(day=met["occurred_at"].dt.floor("D"))[[*KEYS, "feature", "day"]].drop_duplicates()
    return days.groupby([*KEYS, "feature"]).size().rename("n_days").reset_index()


def linear_evidence(features: pd.DataFrame, coefficients: pd.DataFrame, users: pd.DataFrame, bins: list) -> np.ndarray:
    """X @ W + intercept for the rows of `users`, with the features that the model knows."""
    learned = coefficients[coefficients["kind"] == "coefficient"]
    weights = learned.pivot(index="feature", columns="age_bin", values="value")
    intercept = coefficients[coefficients["kind"] == "intercept"].set_index("age_bin")["value"]
    days = features.pivot_table(index=KEYS, columns="feature", values="n_days", fill_value=0)
    X = np.log1p(days.reindex(index=pd.MultiIndex.from_frame(users[KEYS]), columns=weights.index, fill_value=0))
    return X.to_numpy(dtype=float) @ weights[bins].to_numpy() + intercept[bins].to_numpy()


def frame_of(shop, sql: str) -> pd.DataFrame:
    with duckdb.connect(shop.warehouse, read_only=True) as connection:
        return connection.execute(sql).df()


@pytest.fixture(scope="module")
def bins(base):
    return [name for (name,) in base.query("select age_bin from age_bins order by bin_no")]


def test_features_are_days_counted_from_the_clean_actions(base):
    columns = "user_id, month, occurred_at, action, item_id, search_term"
    actions = frame_of(base, f"select distinct {columns} from stg_actions")
    expected = counted_days(actions, base.frame("item_features"), base.frame("search_term_features"))
    found = frame_of(base, "select user_id, month, feature, n_days from user_month_features")
    order = [*KEYS, "feature"]
    left, right = (f.sort_values(order, ignore_index=True) for f in (found, expected))
    pd.testing.assert_frame_equal(left, right, check_dtype=False)
    kinds = left["feature"].str.replace(r"=[^:]*", "=", regex=True)
    assert {"leaf=", "leaf=:purchase", "leaf=:collect", "leaf=:cart", "search_age="} <= set(kinds)
    assert not kinds.str.endswith(":click").any()


def test_evidence_is_the_matrix_product_of_days_and_weights(base, bins):
    found = base.frame("stage_evidence").sample(500, random_state=1)
    features = base.frame("user_month_features")
    for version, rows in found.groupby("model_version"):
        coefficients = base.frame("stage_coefficients", f"model_version = '{version}'")
        expected = linear_evidence(features, coefficients, rows, bins)
        np.testing.assert_allclose(rows[[f"e_{name}" for name in bins]], expected, rtol=0, atol=1e-9)
    assert features[~features["feature"].isin(coefficients["feature"])].size > 0, "the model knows every feature"


def test_no_active_user_is_missing(base):
    closed = "select month from month_ledger where is_closed"
    active = f"select distinct user_id, month from stg_actions where month in ({closed})"
    for table in ("user_months", "stage_evidence"):
        rows = f"select user_id, month from {table}"
        assert base.query(f"({active}) except ({rows})") == [] == base.query(f"({rows}) except ({active})")
        assert base.query(f"select count(*) - count(distinct (user_id, month)) from {table}") == [(0,)]


class SmallWarehouse:
    """The tables that stage_evidence reads, a few rows each, and its compiled SQL for one month."""

    def __init__(self, base, bins) -> None:
        self.connection, self.bins = duckdb.connect(), bins
        self.connection.execute("attach ':memory:' as warehouse")
        self.sql = next(base.folder.glob("target/compiled/**/stage_evidence.sql")).read_text()

    def evidence(self, user_months, features, weights, month="2017-02-01") -> dict[str, list[float]]:
        """{user: evidence per bin}; `weights` holds rows (model, feature, weight of the first bin)."""
        multiples = np.arange(1, len(self.bins) + 1)
        wide = [[model, feature, *(weight * multiples)] for model, feature, weight in weights]
        columns = ["model_version", "feature", *[f"w_{name}" for name in self.bins]]
        tables = {
            "user_months": pd.DataFrame(user_months, columns=KEYS),
            "user_month_features": pd.DataFrame(features, columns=[*KEYS, "feature", "n_days"]),
            "evidence_weights": pd.DataFrame(wide, columns=columns),
        }
        for name, frame in tables.items():
            self.connection.register("frame", frame)
            self.connection.execute(f"create or replace table warehouse.main.{name} as from frame")
        sql = self.sql.replace("__month__", month).replace("__model_version__", "v1")
        return {row[0]: list(row[3:]) for row in self.connection.execute(sql).fetchall()}


@pytest.fixture
def small(base, bins):
    return SmallWarehouse(base, bins)


FEBRUARY = pd.Timestamp("2017-02-01").date()
JANUARY = pd.Timestamp("2017-01-01").date()


def test_the_sum_can_be_checked_by_head(small, bins):
    weights = [("v1", "", 0.5), ("v1", "leaf=a", 2.0), ("v1", "leaf=b", -1.0)]
    weights += [("v2", "", 100.0), ("v2", "leaf=a", 100.0)]
    features = [("anna", FEBRUARY, "leaf=a", 1), ("anna", FEBRUARY, "leaf=b", 3), ("anna", JANUARY, "leaf=a", 9)]
    found = small.evidence([("anna", FEBRUARY), ("anna", JANUARY), ("bea", JANUARY)], features, weights)
    assert list(found) == ["anna"], "a user of another month is here"
    expected = [(n + 1) * (0.5 + 2 * np.log(2) - np.log(4)) for n in range(len(bins))]
    np.testing.assert_allclose(found["anna"], expected, rtol=0, atol=1e-9)


def test_unseen_features_contribute_nothing_and_lose_nobody(small, bins):
    users = [("known", FEBRUARY), ("unknown", FEBRUARY), ("both", FEBRUARY), ("none", FEBRUARY)]
    features = [("known", FEBRUARY, "leaf=a", 2), ("unknown", FEBRUARY, "leaf=new", 5)]
    features += [("both", FEBRUARY, "leaf=a", 2), ("both", FEBRUARY, "leaf=new", 5)]
    found = small.evidence(users, features, [("v1", "", 0.5), ("v1", "leaf=a", 2.0)])
    assert sorted(found) == ["both", "known", "none", "unknown"]
    assert found["both"] == found["known"]
    assert found["unknown"] == found["none"] == [0.5 * (n + 1) for n in range(len(bins))]


def test_evidence_of_random_users_is_the_matrix_product_and_the_same_bits_in_any_order(small, bins):
    random = np.random.default_rng(3)
    names = [f"leaf={n}" for n in range(60)]
    users = [(f"user {n}", FEBRUARY) for n in range(40)]
    met = [(user, month, name) for user, month in users for name in random.choice(names, 25, replace=False)]
    features = [(*key, int(random.integers(1, 29))) for key in met]
    weights = [("v1", name, random.normal()) for name in ["", *names[:50]]]
    found = small.evidence(users, features, weights)
    days = pd.DataFrame(features, columns=[*KEYS, "feature", "n_days"])
    days = days.pivot(index="user_id", columns="feature", values="n_days")
    known = days.reindex(columns=names[:50]).fillna(0)
    first_bin = np.log1p(known.to_numpy()) @ [weight for _, _, weight in weights[1:]] + weights[0][2]
    expected = first_bin[:, None] * np.arange(1, len(bins) + 1)
    np.testing.assert_allclose([found[user] for user in known.index], expected, rtol=0, atol=1e-9)
    assert small.evidence(users, [features[n] for n in random.permutation(len(features))], weights) == found
