"""Likelihoods of the simulator: the ones it samples from are the ones it publishes."""

import numpy as np
import pytest

from life_stage_demo.age_words import AGE_WORDS
from life_stage_demo.ages import AGES, NO_AGE, age_row
from life_stage_demo.catalogue import Catalogue
from life_stage_demo.category_shares import CATEGORIES, PURCHASES, category_given_age
from life_stage_demo.choices import GroupedChoice
from life_stage_demo.oracle import SessionViews, child_log_likelihood, posteriors, session_log_likelihood
from life_stage_demo.parameters import Parameters

PARAMETERS = Parameters(n_items=600)


@pytest.fixture(scope="module")
def catalogue():
    return Catalogue(3, PARAMETERS)


def test_every_table_of_probabilities_sums_to_one(catalogue):
    assert np.allclose(catalogue.leaf_p.sum(axis=1), 1)
    for choice, groups in (
        (catalogue.items, catalogue.item_leaf),
        (catalogue.search_terms, catalogue.term_leaf),
    ):
        sums = np.add.reduceat(choice.p, np.flatnonzero(np.r_[True, np.diff(groups) > 0]), axis=1)
        assert np.allclose(sums, 1)


def test_draws_follow_their_probabilities():
    weights = np.array([[1.0, 3.0, 2.0, 2.0, 6.0], [5.0, 0.0, 1.0, 0.0, 0.0]])
    choice = GroupedChoice(weights, np.array([0, 0, 1, 1, 1]))
    rng, n = np.random.default_rng(1), 200_000
    rows, groups = rng.integers(2, size=n), rng.integers(2, size=n)
    sampled = choice.draw(rng, rows, groups)
    seen = np.zeros((2, 5))
    np.add.at(seen, (rows, sampled), 1)
    assert np.abs(seen / (n / 4) - [[0.25, 0.75, 0.2, 0.2, 0.6], [1, 0, 1, 0, 0]]).max() < 0.02
    assert seen[1, [1, 3, 4]].sum() == 0


def test_categories_follow_the_measured_purchases():
    shares = category_given_age(1.0, 0.0)[age_row(np.array([3, 60]))]
    measured = (PURCHASES[[2, 6]] + 1) / (PURCHASES[[2, 6]] + 1).sum(axis=1, keepdims=True)
    assert np.abs(shares[:, : len(CATEGORIES) - 1] - measured).max() < 0.001


def test_a_size_is_wanted_at_its_own_age(catalogue):
    table = catalogue.table().to_pylist()
    babies = [n for n, row in enumerate(table) if row["leaf_category"] == "diapers" and row["size"] == "NB"]
    p = catalogue.items.p[:, babies].sum(axis=1)
    assert p[age_row(np.array([0]))] > 3 * p[age_row(np.array([30]))]


def test_titles_and_searches_contain_all_documented_age_formats(catalogue):
    texts = {word.text for word in AGE_WORDS}
    assert {"3岁", "\uff13岁", "6个月", "孕妇", "3-year-old", "1-3岁", "0-6个月", "两岁"} <= texts
    titles = catalogue.table()["title"].to_pylist()
    share = np.mean([any(f" {text} " in f" {title} " for text in texts) for title in titles])
    assert 0.06 < share < 0.14
    assert "3岁积木" in catalogue.terms or "积木 3岁" in catalogue.terms
    sizes = set(catalogue.table()["size"].to_pylist())
    assert {"2段", "XL", "80cm", None} <= sizes


def test_sessions_identify_the_age_of_their_child(catalogue):
    """After sixty sessions of five items for a child of eight months the posterior is near its birth month."""
    rng, n_sessions, age = np.random.default_rng(2), 60, 8
    row = np.full(5 * n_sessions, age_row(np.array(age)))
    leaf = catalogue.leaves.draw(rng, row, np.zeros(len(row), dtype=int))
    items = catalogue.items.draw(rng, row, leaf)
    views = SessionViews(np.repeat(np.arange(n_sessions), 5), items, np.full(n_sessions, -1))
    by_target = session_log_likelihood(views, catalogue, PARAMETERS)
    assert by_target.shape == (n_sessions, len(AGES) + 1)
    assert abs(AGES[by_target[:, :NO_AGE].sum(axis=0).argmax()] - age) <= 3
    log_p = child_log_likelihood(by_target, PARAMETERS)
    one_user, first_month = np.zeros(n_sessions, dtype=int), np.zeros(n_sessions, dtype=int)
    p = posteriors(one_user, first_month, log_p, 1, 2, PARAMETERS)
    births = np.arange(PARAMETERS.birth_edges[0], PARAMETERS.birth_edges[-1])
    assert np.allclose(p.sum(axis=2), 1, atol=1e-5)
    assert abs(births[p[1, 0].argmax()] + age) <= 4
