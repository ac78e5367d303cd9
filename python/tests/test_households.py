"""Households: presence, the household readout, shoppers without a child, and children with stable numbers.

SQL is compared with NumPy restatements; crafted households are read from a changed warehouse.
"""

from datetime import date

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from project import Shop, copy_shop

from life_stage.filtering.birth_months import BirthMonths, Months
from life_stage.readout.households import (
    CONTEXT,
    childless_share,
    design_of,
    fit_new_models,
    labels_of,
    presence_terms,
    readout_weights,
    terms_of,
)
from life_stage.training.retraining import read_age_divisions

STAGES = ("pregnancy", "newborn", "infant", "toddler", "nursery", "kindergarten")
EDGES = np.array([-9, 0, 6, 12, 24, 36, 84])


@pytest.fixture(scope="module")
def ages(base):
    with duckdb.connect(base.warehouse, read_only=True) as connection:
        return read_age_divisions(connection.table("age_bins"), connection.table("stages"))


def test_group_log_likelihood_is_the_sum_over_observed_features(base):
    """Against pandas for a month: distinct days per user, group and feature, ln(1 + days) times the weight."""
    month = "month = date '2016-11-01'"
    actions = base.frame("stg_actions", month)
    items = base.frame("stg_items")[["item_id", "leaf_category"]]
    of_items, of_terms = base.frame("item_features"), base.frame("search_term_features")
    looked = actions.merge(items, on="item_id").merge(of_items, on="item_id")
    stronger = looked[looked["action"] != "click"]
    stronger = stronger.assign(feature=stronger["feature"] + ":" + stronger["action"])
    searched = actions.merge(of_terms, on="search_term").assign(leaf_category="")
    days = pd.concat([looked, stronger, searched]).groupby(["user_id", "leaf_category", "feature"])["acted_on"]
    days = days.nunique().rename("n").reset_index()
    weights = base.frame("model_weights")
    columns = [name for name in weights.columns if name.startswith("w_")]
    weighed = days.merge(weights, on="feature")
    weighed[columns] = weighed[columns].mul(np.log1p(weighed["n"]), axis=0)
    expected = weighed.groupby(["user_id", "leaf_category"])[columns].sum()
    found = base.frame("group_log_likelihoods", month)
    ids = base.frame("item_feature_index").merge(items, how="left")
    names = ids[["group_id", "leaf_category"]].drop_duplicates()
    names.loc[len(ids)] = 0, ""  # searches
    assert len(names) == names["group_id"].nunique() == names["leaf_category"].nunique()
    found = found.merge(names).set_index(["user_id", "leaf_category"]).sort_index()
    assert list(found.index) == list(expected.index) and len(found) > 300
    np.testing.assert_allclose(found[[f"ll_{c[2:]}" for c in columns]], expected, rtol=0, atol=1e-8)


def presence_of(base: Shop, bins: list[str]) -> pd.DataFrame:
    """user x month x bins: sum over the groups of ln(0.8 + 0.2 r)."""
    groups = base.frame("group_log_likelihoods")
    model = base.frame("stage_coefficients", "model_name = 'log_likelihood'")
    share, intercept = (
        model[model["parameter_type"] == kind].set_index("age_bin")["value"][bins].to_numpy()
        for kind in ("prior", "intercept")
    )
    n_groups = groups.groupby(["user_id", "month"])["group_id"].transform("size").to_numpy()
    score = groups[[f"ll_{name}" for name in bins]].to_numpy() + intercept / n_groups[:, None]
    likelihood = np.exp(2 * score)
    ratio = likelihood / (likelihood @ share)[:, None]
    return groups[["user_id", "month"]].join(pd.DataFrame(np.log(0.8 + 0.2 * ratio), columns=bins))


def test_presence_is_the_sum_of_bounded_group_log_likelihoods(base, ages):
    bins = list(ages.bins)
    each = presence_of(base, bins)
    expected = each.groupby(["user_id", "month"])[bins].sum()
    found = base.frame("presence_log_likelihoods").set_index(["user_id", "month"]).sort_index()
    assert list(found.index) == list(expected.index) and len(found) > 1000
    np.testing.assert_allclose(found[[f"ll_{name}" for name in bins]], expected, rtol=0, atol=1e-8)
    n_groups = each.groupby(["user_id", "month"]).size()
    lowest = found[[f"ll_{name}" for name in bins]].min(axis=1)
    assert (lowest >= n_groups * np.log(0.8) - 1e-9).all(), "actions for another child cost at most ln 0.8 a group"


def test_the_presence_filter_sums_over_the_months_of_a_birth_month(base, ages):
    bins, stages = list(ages.bins), ages.stages
    months = presence_of(base, bins).groupby(["user_id", "month"])[bins].sum().reset_index()
    users = pd.Index(sorted(months["user_id"].unique())[:150])
    months = months[months["user_id"].isin(users)]
    lag = (2017 - months["month"].dt.year) * 12 + 2 - months["month"].dt.month
    user = users.get_indexer(months["user_id"])
    rows = Months(user, lag.to_numpy(), np.zeros(len(user), int), np.zeros(len(user), int))
    last = Months(np.arange(len(users)), *np.zeros((3, len(users)), int))
    births = BirthMonths(ages, 8, np.full(len(bins), 1 / len(bins)), 0.01)
    total = births.by_age(births.running_sum(months[bins].to_numpy(), rows, last), last)
    found = base.frame("presence_filter", "month = date '2017-02-01'").set_index("user_id").loc[users]
    for stage, low, high in zip(stages, ages.stage_edges, ages.stage_edges[1:], strict=False):
        inside = total[:, 1 + low - ages.first : 1 + high - ages.first]
        expected = np.log(np.exp(inside).mean(axis=1))
        np.testing.assert_allclose(found[f"presence_{stage}"], expected, rtol=0, atol=0.01)
        chosen = inside[np.arange(len(users)), found[f"age_{stage}"].to_numpy() - low]
        np.testing.assert_allclose(chosen, inside.max(axis=1), rtol=0, atol=0.01)
    np.testing.assert_allclose(found["presence_not_yet"], total[:, 0], rtol=0, atol=0.01)


def test_every_posterior_has_a_presence_and_a_household(base):
    keys = "select user_id, month from {} order by all"
    expected = base.query(keys.format("birth_month_filter"))
    assert base.query(keys.format("presence_filter")) == base.query(keys.format("household_stages")) == expected
    assert base.query(keys.format("household_children where is_primary")) == expected


@pytest.mark.parametrize("source", ["base", "evaluated"])
def test_household_stages_are_the_readout_of_terms_and_weights(source, request):
    """With the weights of too few families, and with learned ones; never below the first child's probability."""
    shop = request.getfixturevalue(source)
    terms = shop.frame("household_terms", "month = date '2017-02-01'").set_index("user_id").sort_index()
    weights = shop.frame("household_weights").set_index("first_stage").loc[terms["first_stage"]]
    found = shop.frame("household_stages", "month = date '2017-02-01'").set_index("user_id").loc[terms.index]
    design = design_of(terms, STAGES)
    for stage in STAGES:
        logit = (design * weights[[f"{stage}_{term}" for term in terms_of(STAGES)]].to_numpy()).sum(axis=1)
        expected = np.maximum(1 / (1 + np.exp(-logit)), terms[f"share_{stage}"])
        np.testing.assert_allclose(found[f"h_{stage}"], expected, rtol=0, atol=1e-6)
    share = weights["childless_share"].to_numpy()
    odds = share / (1 - share) * np.exp(terms["no_child_log_ratio"].to_numpy())
    np.testing.assert_allclose(found["no_child_probability"], odds / (1 + odds), rtol=0, atol=1e-6)
    is_learned = (weights["n_families"] >= 300).all()
    assert is_learned == (source == "evaluated")
    if not is_learned:
        np.testing.assert_allclose(
            found[[f"h_{stage}" for stage in STAGES]],
            np.clip(terms[[f"share_{stage}" for stage in STAGES]], 1e-6, 1 - 1e-6),
            rtol=0,
            atol=1e-6,
        )


@settings(max_examples=15, deadline=None)
@given(share=st.floats(0, 0.8), seed=st.integers(0, 1000))
def test_the_share_of_childless_shoppers_is_recovered(share, seed):
    """Log-likelihoods of two classes that overlap, as of months of behaviour."""
    rng = np.random.default_rng(seed)
    is_childless = rng.random(4000) < share
    centre = rng.normal(np.where(is_childless, 1.5, -1.5), 1)
    log_ratio = 3 * centre  # ln N(x; 1.5, 1) - ln N(x; -1.5, 1)
    found, error = childless_share(log_ratio)
    assert found == pytest.approx(is_childless.mean(), abs=0.05)
    assert abs(found - is_childless.mean()) < 5 * error + 0.005


def test_without_unregistered_users_nobody_is_childless():
    assert childless_share(np.array([])) == (0.0, 0.0)


def readings(n: int, seed: int = 0) -> pd.DataFrame:
    """Random household terms of families, read three times."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 8)), columns=presence_terms(STAGES))
    frame[[f"share_{stage}" for stage in STAGES]] = rng.dirichlet(np.ones(7), n)[:, :6]
    frame[list(CONTEXT)] = rng.random((n, 3))
    frame["first_stage"] = np.array(STAGES)[frame[[f"share_{s}" for s in STAGES]].to_numpy().argmax(axis=1)]
    return frame


def test_weights_in_original_units_reproduce_the_regression():
    """Labels from known weights that differ by the stage of the first child: the fit finds their probabilities."""
    frame, rng = readings(20_000), np.random.default_rng(1)
    design, first = design_of(frame, STAGES), frame["first_stage"].map(STAGES.index).to_numpy()
    truth = rng.normal(0, 0.4, size=(len(STAGES), design.shape[1]))
    truth[:, 9:] = truth[0, 9:]
    probability = 1 / (1 + np.exp(-(design * truth[first]).sum(axis=1)))
    weights = readout_weights(design, first, rng.random(len(design)) < probability, len(STAGES), 8)
    found = 1 / (1 + np.exp(-(design * weights[first]).sum(axis=1)))
    assert np.abs(found - probability).mean() < 0.03
    np.testing.assert_array_equal(weights[:, 9:], np.tile(weights[0, 9:], (len(STAGES), 1)))


def test_labels_are_the_stages_of_all_children():
    found = labels_of([[3, 30], [-12], [90], [83, 84]], EDGES)
    assert [list(np.array(STAGES)[row]) for row in found] == [["newborn", "nursery"], [], [], ["kindergarten"]]


def relations(n_families: int, later: bool = False, test_age: int = 3):
    """Relations for fit_new_models: families of one model, the last fifth in the test set."""
    connection, through = duckdb.connect(), date(2017, 2, 1)
    rng = np.random.default_rng(0)
    months = [date(2016, 8, 1), date(2016, 10, 1), date(2016, 12, 1), through, date(2017, 4, 1)][: 5 if later else 4]
    terms, labels = [], []
    for number, month in enumerate(months):
        frame = readings(n_families + 200, seed=number)
        frame["user_id"] = [f"u{n:05}" for n in range(len(frame))]
        ratio = rng.normal(0, 3, len(frame))
        terms.append(frame.assign(month=pd.Timestamp(month), model_version="m", no_child_log_ratio=ratio))
        families = frame.head(n_families)
        is_test = np.arange(n_families) >= 0.8 * n_families
        age = np.where(is_test, test_age, [int(EDGES[STAGES.index(s)]) + 1 for s in families["first_stage"]])
        labels.append(
            pd.DataFrame(
                {
                    "user_id": families["user_id"],
                    "month": pd.Timestamp(month),
                    "age_months": age,
                    "split": np.where(is_test, "test", "train"),
                    "registered_at": pd.Timestamp("2016-11-05"),
                }
            )
        )
    tables = {"terms": pd.concat(terms), "labels": pd.concat(labels)}
    tables["stages"] = pd.DataFrame(
        {"stage_no": range(1, 7), "stage": STAGES, "from_month": EDGES[:-1], "to_month": EDGES[1:]}
    )
    tables["assignments"] = pd.DataFrame({"month": [pd.Timestamp(through)], "model_version": ["m"]})
    tables["models"] = pd.DataFrame({"model_version": ["m"], "trained_through": [through]})
    for name, frame in tables.items():
        connection.register(f"{name}_frame", frame)
        connection.execute(f"create table {name} as from {name}_frame")
    connection.execute("alter table terms alter month type date")
    connection.execute("alter table labels alter month type date")
    connection.execute("alter table models alter trained_through type date")
    return {name: connection.table(name) for name in tables} | {"known": None}


def test_weights_are_fitted_once_per_model_on_enough_families():
    found = fit_new_models(**relations(500))
    assert list(found["first_stage"]) == list(STAGES) and set(found["n_families"]) == {400}
    assert set(found["n_unregistered"]) == {200}
    assert not np.allclose(found["newborn_presence_newborn"], 0)
    assert np.allclose(found["registered_late_newborn"], 1), "all were registered in November, after August"
    inputs = relations(500)
    connection = duckdb.connect()
    connection.register("found", found)
    assert fit_new_models(**inputs | {"known": connection.table("found")}).empty
    few = fit_new_models(**relations(300))
    logits = few[[name for name in few if name.startswith("toddler_")]].drop(columns="toddler_logit_toddler")
    assert (few["toddler_logit_toddler"] == 1).all() and (logits.to_numpy() == 0).all()


def test_later_months_and_test_users_change_no_weight():
    expected = fit_new_models(**relations(500))
    for other in (relations(500, later=True), relations(500, test_age=40)):
        pd.testing.assert_frame_equal(fit_new_models(**other), expected)


CRAFTED = [f"2016-{month:02}" for month in range(8, 13)] + ["2017-01", "2017-02"]


def crafted(shop: Shop, **users: list[dict]) -> None:
    """Replace the households by users with one dictionary a month: first_stage, birth, h_<stage>, age_<stage>."""
    shop.change(
        "delete from household_stages",
        "delete from household_children",
        "delete from household_children_cells",
        "delete from build_log where model like 'household_children%'",
        "delete from build_log where model = 'household_stages' and month < date '2016-08-01'",
    )
    version = shop.query("select max(model_version) from household_weights")[0][0]
    statements = []
    for user, months in users.items():
        for month, stated in zip(CRAFTED, months, strict=False):
            row = {f"h_{stage}": 0.01 for stage in STAGES} | {
                f"age_{stage}": int(EDGES[n]) for n, stage in enumerate(STAGES)
            }
            row |= {name: value for name, value in stated.items() if name != "birth"}
            birth = f"date '{stated['birth']}-01'" if stated.get("birth") else "null"
            values = ", ".join(f"{value!r} as {name}" for name, value in row.items())
            statements.append(
                f"insert into household_stages by name select '{user}' as user_id, date '{month}-01' as month, "
                f"{birth} as expected_birth_month, 0.0 as no_child_probability, '{version}' as model_version, {values}"
            )
    shop.change(*statements)
    shop.build(only="household_children")


def children_of(shop: Shop, user: str) -> list[list[tuple]]:
    """(child_no, stage) of the published children of each month."""
    rows = shop.frame("household_children", f"user_id = '{user}' and is_published")
    return [
        [(row.child_no, row.stage) for row in rows[rows["month"] == f"{month}-01"].sort_values("child_no").itertuples()]
        for month in CRAFTED
    ]


def older(months: int, **probability: float) -> dict:
    """A toddler born in July 2015, and a younger child of so many months."""
    return {"first_stage": "toddler", "birth": "2015-07", "h_toddler": 0.95, **probability}


def test_a_further_child_begins_at_a_high_probability_ends_at_a_low_one_and_keeps_its_number(shop):
    newborn = [0.6, 0.75, 0.5, 0.39, 0.6, 0.72]
    months = [older(0, h_newborn=p, age_newborn=min(n, 5)) for n, p in enumerate(newborn)]
    crafted(shop, flicker=months)
    first, second = (1, "toddler"), (2, "newborn")
    assert children_of(shop, "flicker")[:6] == [
        [first],
        [first, second],
        [first, second],
        [first],
        [first],
        [first, second],
    ]


def test_the_first_child_begins_and_ends_at_two_thresholds(shop):
    toddler = [0.45, 0.55, 0.42, 0.39, 0.45, 0.51]
    crafted(shop, first=[{"first_stage": "toddler", "birth": "2015-07", "h_toddler": p} for p in toddler])
    assert [len(month) for month in children_of(shop, "first")[:6]] == [0, 1, 1, 0, 0, 1]


def test_a_child_keeps_its_number_into_the_next_stage(shop):
    months = [older(0, h_newborn=0.9, age_newborn=age) for age in (3, 4, 5)]
    months += [older(0, h_infant=0.9, age_infant=age) for age in (6, 7, 8)]
    crafted(shop, grows=months)
    assert [row[1:] for row in children_of(shop, "grows")[:6]] == [[(2, "newborn")]] * 3 + [[(2, "infant")]] * 3


def test_children_keep_their_numbers_when_another_one_becomes_the_first(shop):
    old = {"first_stage": "nursery", "birth": "2014-01", "h_nursery": 0.9, "h_newborn": 0.8}
    new = {"first_stage": "newborn", "h_nursery": 0.9, "h_newborn": 0.95}
    months = [old | {"age_newborn": 1}, old | {"age_newborn": 2}]
    months += [new | {"birth": "2016-07", "age_nursery": 33}, new | {"birth": "2016-07", "age_nursery": 34}]
    crafted(shop, swaps=months)
    assert children_of(shop, "swaps")[:4] == [[(1, "nursery"), (2, "newborn")]] * 4
    primary = shop.query("select child_no from household_children where user_id = 'swaps' and is_primary order by all")
    assert primary == [(1,), (1,), (2,), (2,)]


def test_a_revised_birth_month_is_no_new_child(shop):
    months = [
        {"first_stage": "toddler", "birth": "2015-06", "h_toddler": 0.9},
        {"first_stage": "newborn", "birth": "2016-06", "h_newborn": 0.9},
    ]
    crafted(shop, revised=months)
    assert children_of(shop, "revised")[:2] == [[(1, "toddler")], [(1, "newborn")]]


def test_two_births_of_a_household_lie_nine_months_apart(shop):
    toddler = {"first_stage": "toddler", "birth": "2015-08", "h_toddler": 0.9}
    crafted(
        shop,
        near=[toddler | {"h_infant": 0.95, "age_infant": 8}],
        far=[toddler | {"h_newborn": 0.95, "age_newborn": 2}],
    )
    assert children_of(shop, "near")[0] == [(1, "toddler")]
    assert children_of(shop, "far")[0] == [(1, "toddler"), (2, "newborn")]


def test_a_sibling_of_an_older_first_child_keeps_its_number(shop):
    """The births lie within half the long stage of the first child, and that does not make them one child."""
    eldest = {"first_stage": "kindergarten", "birth": "2013-08", "h_kindergarten": 0.95}
    toddler = [0.9, 0.9, 0.6, 0.6, 0.9, 0.9, 0.9]
    months = [eldest | {"h_toddler": p, "age_toddler": 12 + n} for n, p in enumerate(toddler)]
    crafted(shop, siblings=months)
    assert children_of(shop, "siblings") == [[(1, "kindergarten"), (2, "toddler")]] * 7


def test_an_expected_child_is_published_after_its_birth_only_at_a_high_probability(shop):
    """Else a lost pregnancy would become a newborn by the passage of time."""
    expected = [older(0, h_pregnancy=0.8, age_pregnancy=-2), older(0, h_pregnancy=0.8, age_pregnancy=-1)]
    lost = [older(0, h_newborn=0.6, age_newborn=n) for n in range(3)]
    born = [older(0, h_newborn=p, age_newborn=n) for n, p in enumerate([0.6, 0.75, 0.5])]
    crafted(shop, lost=expected + lost, born=expected + born)
    first, second = (1, "toddler"), (2, "newborn")
    assert children_of(shop, "lost")[:5] == [[first, (2, "pregnancy")]] * 2 + [[first]] * 3
    assert children_of(shop, "born")[2:5] == [[first], [first, second], [first, second]]


def test_the_share_of_childless_shoppers_moves_all_users_alike(evaluated, tmp_path):
    """More childless shoppers change the prior of another user, nothing else."""
    shop = copy_shop(evaluated, tmp_path / "shop")
    before = shop.frame("household_stages")
    shop.change(
        "update household_weights set childless_share = 0.5 + childless_share / 2",
        "delete from build_log where model = 'household_stages'",
    )
    shop.build(only="household_stages", evaluation_from="2016-11")
    after = shop.frame("household_stages")
    assert list(before["user_id"]) == list(after["user_id"])
    stages = [f"h_{stage}" for stage in STAGES]
    np.testing.assert_array_equal(before[stages], after[stages])
    old, new = (frame["no_child_probability"].to_numpy(float) for frame in (before, after))
    inside = (old > 0.001) & (new < 0.999)
    old, new = old[inside], new[inside]
    shift = np.log(new / (1 - new)) - np.log(old / (1 - old))
    share = evaluated.query("select max(childless_share) from household_weights")[0][0]
    of_prior = np.log((0.5 + share / 2) / (0.5 - share / 2)) - np.log(share / (1 - share))
    assert inside.sum() > 1000
    np.testing.assert_allclose(shift, of_prior, rtol=0, atol=1e-2)


@pytest.mark.slow
def test_a_shopper_who_buys_nothing_for_children_has_no_child(evaluated, tmp_path):
    """Three purchases of the leaf category that speaks most against a child; another user buys nappies."""
    shop = copy_shop(evaluated, tmp_path / "shop")
    leaf = """
        select items.item_id from stg_items as items
        join model_weights as weights on weights.feature = 'leaf=' || items.leaf_category
        order by {}, item_id limit 1
    """
    (plain,), (nappies,) = (
        shop.query(leaf.format(order))[0]
        for order in ("w_not_yet - greatest(w_0, w_6, w_12, w_24, w_36) desc", "w_0 - w_not_yet desc")
    )
    rows = ", ".join(
        f"('{user}-{n}', '{user}', timestamp '2017-0{1 + n % 2}-{10 + n} 12:00:00', 'purchase', '{item}')"
        for user, item in (("plain", plain), ("parent", nappies))
        for n in range(3)
    )
    duckdb.sql(
        f"copy (from (values {rows}) as t(action_id, user_id, occurred_at, action, item_id)) "
        f"to '{shop.source}/actions/late.parquet'"
    )
    shop.build(only="+user_stages", evaluation_from="2016-11")
    assert shop.query("select stage from user_stages where user_id = 'plain'") == []
    childless = dict(
        shop.query(
            "select user_id, p_no_child + p_not_expecting from user_stage_months "
            "where month = date '2017-02-01' and user_id in ('plain', 'parent')"
        )
    )
    assert childless["plain"] > 0.9 > childless["parent"] + 0.2
