"""Second children from pairs of birth months: sums against an independent implementation, and published children."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from life_stage.birth_months import Ages, prior_by_tenure
from life_stage.pair_cells import FOR_NOBODY, SHARPNESS, STEP, PairCells
from life_stage.pair_filter import packed, second_child, unpacked

EDGES = (-34, -9, -6, -3, 0, 2, 4, 6, 9, 12, 15, 18, 21, 24, 30, 36, 48, 60, 72, 84, 110)
AGES = Ages(
    tuple(f"b{n}" for n in range(len(EDGES) - 1)),
    EDGES,
    ("pregnancy", "newborn", "infant", "toddler", "nursery", "kindergarten"),
    (-9, 0, 6, 12, 24, 36, 84),
)
CELLS = PairCells(AGES)
N_BINS, START = len(AGES.bins), 2015 * 12
AVERAGE = np.diff(EDGES) / (EDGES[-1] - EDGES[0])


def updated(history: dict[int, np.ndarray], n_months: int) -> np.ndarray:
    """The carried sums of one user after so many months; history: {month: groups x bins}."""
    state = np.zeros((len(CELLS.pairs), 1), np.float32)
    for month in range(START, START + n_months):
        state = CELLS.aged(state, month)
        if (groups := history.get(month - START)) is not None:
            state = state + CELLS.merged(groups, np.array([len(groups)]), AVERAGE, month)
    return state


def read(state: np.ndarray, n_months: int, first_stage: int):
    prior = CELLS.log_prior(prior_by_tenure(AGES, AVERAGE, 0.02, n_months), START + n_months - 1)
    return second_child(state, prior, np.array([n_months - 1]), np.array([first_stage]), CELLS, START + n_months - 1)


def likelihood(group: np.ndarray, age: int) -> float:
    """The likelihood of one session-category group at that age, relative to the mean over all ages."""
    e = np.interp(age, [(a + b - 1) / 2 for a, b in pairwise(EDGES)], group)
    e = group[0] if age < AGES.first else group[-1] if age > AGES.last else e
    return np.exp(SHARPNESS * e) / (AVERAGE @ np.exp(SHARPNESS * group))


GROUPS = st.lists(st.lists(st.integers(-2, 4), min_size=N_BINS, max_size=N_BINS), min_size=1, max_size=3)


@settings(max_examples=20, deadline=None)
@given(history=st.dictionaries(st.integers(0, 13), GROUPS, max_size=5))
def test_the_sum_of_a_pair_is_that_over_all_its_months(history):
    """For births that are in the grid from the first month on, or enter it later and were `not yet` before."""
    n_months = 14
    state = updated({month: np.array(groups, float) for month, groups in history.items()}, n_months)[:, 0]
    ages_now = CELLS.ages_at(START + n_months - 1)
    for number, (younger, older) in enumerate(CELLS.pairs):
        if older > CELLS.n_births:
            continue  # graduated keeps the likelier of all that left the grid
        expected = 0.0
        for month, groups in history.items():
            ages = [
                AGES.first - 1 if cell == 0 else ages_now[cell - 1] - (n_months - 1 - month)
                for cell in (younger, older)
            ]
            for group in np.array(groups, float):
                mean = np.mean([likelihood(group, age) for age in ages])
                expected += np.log((1 - FOR_NOBODY) * mean + FOR_NOBODY)
        assert state[number] == pytest.approx(expected, abs=1e-3)


def test_graduated_takes_the_likelier_sum_of_children_aged_out_of_the_grid():
    entering = next(month for month in range(START, START + STEP) if CELLS.ages_at(month)[0] == AGES.first)
    before = np.random.default_rng(3).normal(size=(len(CELLS.pairs), 2)).astype(np.float32)
    after, last = CELLS.aged(before, entering), CELLS.n_births + 1
    at = {tuple(pair): number for number, pair in enumerate(CELLS.pairs)}
    for younger in range(1, last - 3):
        stayed, left = before[at[younger - 1, last]], before[at[younger - 1, last - 1]]
        np.testing.assert_array_equal(after[at[younger, last]], np.maximum(stayed, left))
    alone = np.maximum(before[at[last, last]], before[at[last - 1, last - 1]])
    np.testing.assert_array_equal(after[at[last, last]], alone)
    np.testing.assert_array_equal(CELLS.aged(before, entering + 1), before)


def test_carried_state_is_the_sum_relative_to_its_maximum():
    """For any order of the array in memory; packing it again gives the same bytes."""
    sums = np.random.default_rng(2).normal(0, 20, size=(len(CELLS.pairs), 5)).astype(np.float32)
    for state in (sums, np.asfortranarray(sums)):
        found = unpacked(packed(state), len(CELLS.pairs))
        np.testing.assert_allclose(found, sums - sums.max(axis=0), rtol=1e-3, atol=1e-3)
        assert packed(found) == packed(state)
    nobody = unpacked(pa.array([None, packed(sums)[0].as_py()], pa.binary()), len(CELLS.pairs))
    assert (nobody[:, 0] == 0).all() and nobody[:, 1].max() == 0 and nobody[:, 1].min() < -10


def test_pairs_are_children_who_can_be_siblings():
    births = (CELLS.pairs > 0).all(axis=1) & (CELLS.pairs <= CELLS.n_births).all(axis=1)
    gaps = np.diff(CELLS.pairs[births & (CELLS.pairs[:, 0] != CELLS.pairs[:, 1])], axis=1) * STEP
    assert gaps.min() >= 10 and len(np.unique(CELLS.pairs, axis=0)) == len(CELLS.pairs)
    for month in range(START, START + 2 * STEP):
        ages = CELLS.ages_at(month)
        assert AGES.first <= ages[0] < AGES.first + STEP and ages[-1] >= AGES.stage_edges[-1] - STEP
        assert ((month - ages) % STEP == 0).all(), "birth months do not move"


def test_prior_shares_of_one_child_and_of_two_sum_to_one():
    log_prior = CELLS.log_prior(prior_by_tenure(AGES, AVERAGE, 0.02, 10), START + 9)
    for group in (CELLS.one, CELLS.two):
        np.testing.assert_allclose(np.exp(log_prior[group]).sum(axis=0), 1, rtol=0, atol=1e-9)


def group(*bins: int) -> np.ndarray:
    """A session-category group with high log-likelihoods for these bins."""
    return 4.0 * np.isin(np.arange(N_BINS), bins)


def test_two_children_of_different_ages_are_distinguished_from_one():
    newborn, nursery = group(5, 6), group(14)
    both = read(updated(dict.fromkeys(range(4), np.array([newborn, nursery] * 3)), 4), 4, first_stage=4)
    alone = read(updated(dict.fromkeys(range(4), np.array([nursery, nursery] * 3)), 4), 4, first_stage=4)
    assert both.log_odds[0] > np.log(20) > 0 > alone.log_odds[0]
    assert both.p_stages[:, 0].argmax() in (1, 2) and both.p_stages[:, 0].max() > 0.6
    assert both.p_stages[4, 0] < 1e-12, "the second child is not in the stage of the first"
    assert abs(both.age_quantiles[0, 0] - 5) <= STEP


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), n_users=st.integers(2, 300))
def test_posteriors_of_a_user_are_independent_of_other_users(seed, n_users):
    rng = np.random.default_rng(seed)
    state = rng.normal(0, 5, size=(len(CELLS.pairs), n_users)).astype(np.float32)
    prior = CELLS.log_prior(prior_by_tenure(AGES, AVERAGE, 0.02, 5), START + 4)
    tenure, stage = rng.integers(0, 5, n_users), rng.integers(0, len(AGES.stages), n_users)
    together = second_child(state, prior, tenure, stage, CELLS, START + 4)
    chosen = rng.permutation(n_users)[: n_users // 2]
    alone = second_child(state[:, chosen], prior, tenure[chosen], stage[chosen], CELLS, START + 4)
    for name in ("log_odds", "p_stages", "age_quantiles", "months_left"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(together, name)[..., chosen])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), n_groups=st.lists(st.integers(1, 5), min_size=1, max_size=30))
def test_log_likelihoods_of_a_user_are_independent_of_other_users(seed, n_groups):
    log_likelihood = np.random.default_rng(seed).normal(size=(sum(n_groups), N_BINS))
    together = CELLS.merged(log_likelihood, np.array(n_groups), AVERAGE, START)
    for user, groups in enumerate(np.split(log_likelihood, np.cumsum(n_groups)[:-1])):
        alone = CELLS.merged(groups, np.array([len(groups)]), AVERAGE, START)
        np.testing.assert_allclose(together[:, [user]], alone, rtol=0, atol=1e-5)


def test_a_stage_shorter_than_a_grid_step_may_hold_no_child_in_a_month():
    ages = Ages(AGES.bins, EDGES, ("trimester", "pregnancy", "child"), (-9, -7, 0, 84))
    cells = PairCells(ages)
    state = np.zeros((len(cells.pairs), 2), np.float32)
    prior = cells.log_prior(prior_by_tenure(ages, AVERAGE, 0.02, 1), START)
    shares = np.array(
        [second_child(state, prior, np.zeros(2, int), np.array([2, 1]), cells, START + n).p_stages for n in range(STEP)]
    )
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=0, atol=1e-9)
    assert (shares[:, 0] > 0.01).any() and (shares[:, 0] < 1e-9).any()


def test_a_single_gift_makes_no_second_child():
    months = {month: np.array([group(14), group(14)]) for month in range(4)}
    months[2] = np.array([group(14), group(5, 6)])
    assert read(updated(months, 4), 4, first_stage=4).log_odds[0] < 0


def test_group_log_likelihood_is_the_sum_over_observed_features(base):
    """Against pandas for a month: distinct days per user, group and feature, ln(1 + days) times the weight."""
    month = "month = date '2016-11-01'"
    actions = base.frame("stg_actions", month)
    items = base.frame("stg_items")[["item_id", "leaf_category"]]
    of_items, of_terms = base.frame("item_features"), base.frame("search_term_features")
    looked = actions.merge(items, on="item_id").merge(of_items, on="item_id")
    looked["category_group"] = "leaf=" + looked["leaf_category"]
    stronger = looked[looked["action"] != "click"]
    stronger = stronger.assign(feature=stronger["feature"] + ":" + stronger["action"])
    searched = actions.merge(of_terms, on="search_term").assign(category_group="search")
    met = pd.concat([looked, stronger, searched])
    days = met.groupby(["user_id", "category_group", "feature"])["acted_on"].nunique().rename("n").reset_index()
    weights = base.frame("model_weights")
    columns = [name for name in weights.columns if name.startswith("w_")]
    weighed = days.merge(weights, on="feature")
    weighed[columns] = weighed[columns].mul(np.log1p(weighed["n"]), axis=0)
    expected = weighed.groupby(["user_id", "category_group"])[columns].sum()
    found = base.frame("group_log_likelihoods", month).set_index(["user_id", "category_group"]).sort_index()
    assert list(found.index) == list(expected.index) and len(found) > 300
    np.testing.assert_allclose(found[[f"ll_{c[2:]}" for c in columns]], expected, rtol=0, atol=1e-8)


def test_every_posterior_has_one_about_a_second_child(base):
    keys = "select user_id, month from {} order by all"
    assert base.query(keys.format("pair_filter")) == base.query(keys.format("birth_month_filter"))
    p = base.frame("pair_filter")
    of_stages = p[[name for name in p.columns if name.startswith("p_")]]
    np.testing.assert_allclose(of_stages.sum(axis=1), 1, rtol=0, atol=1e-9)
    assert np.isfinite(p["log_odds"]).all() and p["months_until_next_stage"].gt(0).all()
    assert (p["earliest_birth_month"] <= p["expected_birth_month"]).all()
    assert (p["expected_birth_month"] <= p["latest_birth_month"]).all()


def test_a_second_child_is_published_above_the_threshold_with_its_own_number(shop):
    """With 400 users no threshold is trained and no odds reach 20 to 1, so all odds are raised by hand."""
    thresholds = [threshold for (threshold,) in shop.query("select threshold from second_child_thresholds")]
    assert thresholds == [pytest.approx(np.log(20))] * 8
    shop.change("update pair_filter set log_odds = log_odds + 4")
    second = (
        "select count(*) from stage_posteriors where method = 'birth_month_filter' and child_no = 2 and not is_primary"
    )
    passed = shop.query("select count(*) from pair_filter where log_odds > ln(20)")
    assert shop.query(second) == passed and passed[0][0] > 20
    shop.build(only="user_stage_months")
    numbers = """
        select coalesce(n_known, 0), count(*), count(case when child_no = coalesce(last_child_no, 1) + 1 then 1 end)
        from user_stage_months
        left join (select user_id, max(child_no) as last_child_no from stg_children group by all) using (user_id)
        left join (select user_id, month, count(*) as n_known from registered_births group by all)
            using (user_id, month)
        where (user_id, child_no) not in (select user_id, child_no from stg_children)
        and not (last_child_no is null and child_no = 1) group by all order by all
    """
    published = shop.query(numbers)
    assert [n_known for n_known, _, _ in published] == [0, 1], "families with several registered children have no more"
    assert all(n_further == n_next > 0 for _, n_further, n_next in published)
    furthest = """
        select max(abs(published.p_infant - posteriors.p_infant)), max(abs(published.p_toddler - posteriors.p_toddler))
        from user_stage_months as published inner join stage_posteriors as posteriors using (user_id, month)
        where not published.is_primary and not posteriors.is_primary and posteriors.method = 'birth_month_filter'
    """
    assert max(shop.query(furthest)[0]) < 1e-9, "the registration of the first child says nothing of the second"


def test_the_threshold_lets_the_wanted_share_of_single_children_pass(shop):
    """Estimated from validation users, from each month and those before it."""
    shop.change(
        "update stage_labels set split = 'validation'",
        "create or replace table pair_filter as select * replace (random() as log_odds) from pair_filter",
    )
    shop.build(only="second_child_thresholds")
    rows = shop.frame("pair_filter").merge(shop.frame("stage_labels", "n_children = 1"), on=["user_id", "month"])
    for month, n_users, threshold in shop.query("select month, n_users, threshold from second_child_thresholds"):
        known = rows[rows["month"] <= pd.Timestamp(month)]
        assert n_users == known["user_id"].nunique()
        if n_users >= 100:
            assert threshold == pytest.approx(np.quantile(known["log_odds"], 0.95), abs=1e-12)
    assert n_users >= 100
