"""End-to-end training through the birth-month filter: arithmetic of the SQL, and improvement by every step."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from filter_oracle import Divisions, log_likelihood_at, prior_after
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from training_data import AGES, THROUGH, months_of, training_tables

from life_stage.filtering.birth_months import (
    Ages,
    BirthMonths,
    Months,
    last_months,
    months_so_far,
    prior_by_tenure,
    readout_of,
)
from life_stage.readout import activity, calibration
from life_stage.readout.calibration import DELTAS, UNCALIBRATED
from life_stage.readout.readout import TERMS, Readouts, ReadoutSettings, ReadoutWeights
from life_stage.training import regression, regularisation, train_through_filter
from life_stage.training.examples import Examples, examples_of
from life_stage.training.model_rows import read_readout
from life_stage.training.regression import LogLikelihood

N_MONTHS, N_BINS = 6, len(AGES.bins)
LAGS = st.sets(st.integers(0, N_MONTHS - 1), max_size=N_MONTHS)
# Per user: the child's age in the newest month, the months with actions, the months of readouts.
HISTORIES = st.lists(st.tuples(st.integers(-20, 30), LAGS, LAGS), min_size=1, max_size=4).filter(
    lambda users: any(read for _, _, read in users)
)
START, HAZARD = np.array([0.3, 0.1, 0.25, 0.25, 0.1]), 0.1
BIRTHS = BirthMonths(AGES, N_MONTHS, START, HAZARD)
DIVISIONS = Divisions(
    list(zip(AGES.bins, AGES.bin_edges, AGES.bin_edges[1:], strict=False)),
    list(zip(AGES.stages, AGES.stage_edges, AGES.stage_edges[1:], strict=False)),
)


def histories_of(users: list[tuple]) -> tuple[Months, Months]:
    """Rows and readouts; a user is first seen in the month of the oldest of either."""
    first = [max([*acted, *read], default=0) for _, acted, read in users]
    rows = [(age, lag, acted) for lag, (age, acted, _) in zip(first, users, strict=True)]
    readouts = [(age, lag, read) for lag, (age, _, read) in zip(first, users, strict=True)]
    return months_of(rows), months_of(readouts)


def pairs(months: Months) -> list[tuple[int, int]]:
    return list(zip(months.user.tolist(), months.lag.tolist(), strict=True))


def log_likelihood_of_grid(e: np.ndarray, lag: int) -> np.ndarray:
    """The log-likelihood of one month at every grid point, from the oracle of the SQL."""
    return np.array([e[0], *log_likelihood_at(BIRTHS.age_now - lag, e, DIVISIONS), e[-1]])


# The arithmetic.


@settings(deadline=None)
@given(HISTORIES, st.integers(0, 2**32 - 1))
def test_the_running_sum_adds_up_all_months_to_each_readout(users, seed):
    rows, readouts = histories_of(users)
    log_likelihood = np.random.default_rng(seed).normal(size=(len(rows), N_BINS))
    expected = np.zeros((len(readouts), BIRTHS.n_cells))
    for n, (user, read_at) in enumerate(pairs(readouts)):
        for m, (other, lag) in enumerate(pairs(rows)):
            if other == user and lag >= read_at:
                expected[n] += log_likelihood_of_grid(log_likelihood[m], lag)
    np.testing.assert_allclose(BIRTHS.running_sum(log_likelihood, rows, readouts), expected, rtol=0, atol=1e-12)


@settings(deadline=None)
@given(HISTORIES, st.integers(0, 2**32 - 1))
def test_the_gradient_of_log_likelihoods_is_the_adjoint_of_the_running_sum(users, seed):
    rows, readouts = histories_of(users)
    random = np.random.default_rng(seed)
    log_likelihood, of_sum = (
        random.normal(size=(len(rows), N_BINS)),
        random.normal(size=(len(readouts), BIRTHS.n_cells)),
    )
    there = (BIRTHS.running_sum(log_likelihood, rows, readouts) * of_sum).sum()
    back = (log_likelihood * BIRTHS.gradient_of_log_likelihood(of_sum.copy(), rows, readouts)).sum()
    assert there == pytest.approx(back, rel=0, abs=1e-9)


@settings(deadline=None)
@given(HISTORIES)
def test_months_so_far_are_the_months_with_actions_up_to_each_readout(users):
    rows, readouts = histories_of(users)
    expected = [sum(u == user and lag >= read_at for u, lag in pairs(rows)) for user, read_at in pairs(readouts)]
    assert months_so_far(rows, readouts).tolist() == expected


@settings(deadline=None)
@given(HISTORIES)
def test_a_month_enters_the_first_readout_from_it_on(users):
    rows, readouts = histories_of(users)
    at = {pair: n for n, pair in enumerate(pairs(readouts))}
    expected = [
        next((at[user, lag] for lag in range(acted_at, -1, -1) if (user, lag) in at), -1)
        for user, acted_at in pairs(rows)
    ]
    assert readout_of(rows, readouts).tolist() == expected


def test_a_child_has_the_grid_point_of_its_age_in_the_newest_month():
    ages = np.array([-4, -3, 0, 13, 14])
    months = Months(np.zeros(5, int), np.array([5, 5, 2, 5, 0]), ages, np.zeros(5, int))
    cells = BIRTHS.cell_of(months)
    assert cells.tolist() == [0, 1 + 5, 1 + 2 + 3, 1 + 5 + 16, BIRTHS.n_cells - 1]
    assert BIRTHS.age_now[cells[1:4] - 1].tolist() == [2, 2, 18]


def test_each_age_belongs_to_the_division_it_lies_in_or_to_none():
    ages = np.array([-13, -12, -4, -3, -1, 0, 7, 8, 13, 14])
    assert AGES.bin_of(ages).tolist() == [-1, 0, 0, 1, 1, 2, 3, 4, 4, -1]
    assert AGES.stage_of(ages).tolist() == [-1, -1, -1, 0, 0, 1, 2, -1, -1, -1]


def test_thirds_of_a_history_count_once_for_every_user():
    months = months_of([(0, 5, [5]), (0, 5, [5, 3]), (0, 5, [5, 4, 3]), (0, 5, [5, 4, 3, 2, 1]), (0, 5, [])])
    chosen, weight = train_through_filter.thirds(months)
    # rows of the users: 0 | 1 2 | 3 4 5 | 6 7 8 9 10
    assert chosen.tolist() == [0, 1, 2, 3, 4, 5, 7, 9, 10]
    np.testing.assert_allclose(weight * 3, [3, 1, 2, 1, 1, 1, 1, 1, 1])


def test_the_last_months_include_inactive_ones_and_begin_with_the_users_first():
    rows = months_of([(10, 9, [9, 7]), (3, 1, [1])])
    found = last_months(rows, 3)
    assert pairs(found) == [(1, 2), (1, 1), (1, 0), (2, 1), (2, 0)]
    assert found.age.tolist() == [8, 9, 10, 2, 3] and found.tenure.tolist() == [7, 8, 9, 0, 1]


def test_without_months_there_is_nothing_to_add_up():
    rows, readouts = months_of([]), months_of([])
    assert BIRTHS.running_sum(np.zeros((0, N_BINS)), rows, readouts).shape == (0, BIRTHS.n_cells)
    assert BIRTHS.log_prior(readouts).shape == (0, BIRTHS.n_cells)
    assert len(rows.counts) == 0 and len(last_months(rows, 3)) == 0 == len(train_through_filter.thirds(rows)[0])


# Prior and posterior, against the SQL.


@pytest.fixture(scope="module")
def ages_of_base(base):
    d = Divisions.of(base)
    stages, starts, ends = zip(*d.stages, strict=True)
    return Ages(tuple(d.bins), (d.starts[0], *d.ends), stages, (starts[0], *ends))


@pytest.fixture(scope="module")
def model_of_base(base):
    """The settings of the only model and its initial prior over the age bins."""
    (model,) = base.frame("model_registry").to_dict("records")
    start = base.frame("stage_coefficients", "parameter_type = 'initial_prior'").set_index("age_bin")["value"]
    return model, start[Divisions.of(base).bins].to_numpy()


def test_the_prior_is_the_one_of_the_sql(base, ages_of_base, model_of_base):
    model, start = model_of_base
    sql = base.frame("prior_by_tenure").sort_values("tenure_months")
    of_cells = np.exp(sql[[name for name in sql if name.startswith("l_")]].to_numpy(float))
    prior = prior_by_tenure(ages_of_base, start, model["birth_hazard"], len(sql))
    assert sql["tenure_months"].tolist() == list(range(8))
    np.testing.assert_allclose(prior, of_cells, rtol=0, atol=1e-9)
    for stage, low, high in zip(
        ages_of_base.stages, ages_of_base.stage_edges, ages_of_base.stage_edges[1:], strict=False
    ):
        inside = prior[:, low - ages_of_base.first + 1 : high - ages_of_base.first + 1].sum(axis=1)
        np.testing.assert_allclose(sql[f"prior_{stage}"], inside, rtol=0, atol=1e-9)


@pytest.mark.parametrize("n_tenures", [1, 40])
def test_the_prior_sums_to_one_and_ages_month_by_month(n_tenures):
    prior = prior_by_tenure(AGES, START, HAZARD, n_tenures)
    expected = [prior_after(tenure, START, HAZARD, DIVISIONS) for tenure in range(n_tenures)]
    np.testing.assert_allclose(prior.sum(axis=1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(prior, expected, rtol=0, atol=1e-12)


@settings(deadline=None)
@given(HISTORIES)
def test_the_prior_of_a_readout_lies_on_the_birth_months_possible_then(users):
    _, readouts = histories_of(users)
    found = np.exp(BIRTHS.log_prior(readouts))
    for prior, lag, tenure in zip(found, readouts.lag, readouts.tenure, strict=True):
        expected = np.zeros(BIRTHS.n_cells)
        expected[[0, -1]] = (by_age := prior_after(tenure, START, HAZARD, DIVISIONS))[[0, -1]]
        expected[1 + lag : 1 + lag + len(by_age) - 2] = by_age[1:-1]  # `lag` months older by now
        np.testing.assert_allclose(prior, expected, rtol=0, atol=1e-12)


def test_posteriors_in_python_equal_those_of_the_sql(base, ages_of_base, model_of_base):
    """From stage_log_likelihoods and the model's settings to the probabilities of every user and month."""
    model, start = model_of_base
    posteriors = base.frame("birth_month_filter").sort_values(["user_id", "month"], ignore_index=True)
    log_likelihood = base.frame("stage_log_likelihoods").sort_values(["user_id", "month"], ignore_index=True)
    users, lag = posteriors["user_id"].unique(), lambda frame: (THROUGH.year - frame["month"].dt.year) * 12 + 2
    first = posteriors.groupby("user_id")["month"].min()

    def months(frame: pd.DataFrame) -> Months:
        lags = lag(frame) - frame["month"].dt.month
        tenure = lag(frame.assign(month=frame["user_id"].map(first))) - frame["user_id"].map(first).dt.month - lags
        user = np.searchsorted(users, frame["user_id"])
        return Months(user, lags.to_numpy(), np.zeros(len(frame), int), tenure.to_numpy())  # any age in a stage

    births = BirthMonths(ages_of_base, 8, start, model["birth_hazard"])
    matrix = log_likelihood[["days", "unspecific_days", "purchase_days"]].to_numpy()
    active = Examples(months(log_likelihood), csr_matrix(matrix), np.ones(len(log_likelihood), bool))
    weights, table = read_readout(base.frame("stage_coefficients"), ages_of_base)
    of_bins = log_likelihood[[f"ll_{name}" for name in births.ages.bins]].to_numpy()
    readouts = Readouts.of(active, of_bins, months(posteriors), births, np.eye(3), table)
    found = readouts.probabilities(weights)
    expected = posteriors[[f"p_{name}" for name in births.ages.stages]].to_numpy()
    assert len(expected) > 1000
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.51e-6)  # six decimals


# End-to-end training.


def simulated(n_users: int, seed: int, n_repeating: int = 0) -> Examples:
    """Months with three independent features of the child's bin, and some that only duplicate the first month."""
    random = np.random.default_rng(seed)
    users = [
        (int(age), N_MONTHS - 1, [lag for lag in range(N_MONTHS) if lag == N_MONTHS - 1 or random.random() < 0.8])
        for age in random.integers(-5, 13, n_users)
    ]
    months = months_of(users)
    centres = np.array([-7, -1.5, 1.5, 5.5, 10.5])

    def days(age):
        near = np.exp(-(((age[:, None] - np.array([-2, 3, 9])) / 5) ** 2))
        return np.log1p(random.poisson(1.2 * near))

    fresh = days(centres[AGES.bin_of(months.age)])
    first = np.repeat(months.first_of_users, months.counts)
    repeated = np.repeat(fresh[first], n_repeating, axis=1)
    return Examples(months, csr_matrix(np.hstack([fresh, repeated])), np.ones(len(months), bool))


def fit(examples: Examples) -> LogLikelihood:
    in_bins, age_bin = examples.in_bins(AGES)
    return regression.fit(in_bins.matrix, age_bin, N_BINS, 0.3)


def loss_of(monkeypatch, *arguments, **options):
    """The loss that train_through_filter.fine_tune minimises, where it begins, and the evidence it ends with."""
    seen = SimpleNamespace()

    def minimize(loss, first, **words):
        seen.loss, seen.first = loss, first
        seen.found = found = original(loss, first, **words)
        return found

    original = train_through_filter.minimize
    with monkeypatch.context() as patch:
        patch.setattr(train_through_filter, "minimize", minimize)
        seen.log_likelihood = train_through_filter.fine_tune(*arguments, **options)
    return seen


def loss_by_definition(theta, matrix, rows: Months, begin: LogLikelihood, anchor_inverse_penalty: float) -> float:
    """METHOD 4, step 2, user by user and cut by cut."""
    value, log_likelihood = 0.0, matrix @ theta[:-1] + theta[-1]
    for user in np.unique(rows.user):
        of_user = np.flatnonzero(rows.user == user)
        for n_months in (int(np.ceil(len(of_user) * third / 3)) for third in (1, 2, 3)):
            cut = of_user[n_months - 1]
            lag, tenure, age = rows.lag[cut], rows.tenure[cut], rows.age[cut]
            total = sum(log_likelihood_of_grid(log_likelihood[n], rows.lag[n]) for n in of_user[:n_months])
            by_age, prior = prior_after(tenure, START, HAZARD, DIVISIONS), np.zeros(BIRTHS.n_cells)
            prior[[0, -1]], prior[1 + lag : 1 + lag + len(by_age) - 2] = by_age[[0, -1]], by_age[1:-1]
            posterior = prior * np.exp(total - total.max())
            posterior /= posterior.sum()
            truth = 0 if age < AGES.first else -1 if age > AGES.last else 1 + age + lag - AGES.first
            value -= np.log(0.9 * posterior[truth] + 0.1 * prior[truth]) / 3
    value += ((theta[:-1] - begin.weights) ** 2).sum() / anchor_inverse_penalty / 2
    return value + 3 / 2 * (np.diff(theta[:-1], axis=1) ** 2).sum()


@pytest.fixture(scope="module")
def examples():
    """Examples with one impossible birthday, whose months stay in the filter."""
    found = simulated(60, seed=5)
    wrong = found.months.user == 7
    months = Months(found.months.user, found.months.lag, found.months.age + 99 * wrong, found.months.tenure)
    return Examples(months, found.matrix, found.is_active)


def test_the_loss_is_the_noise_mixed_likelihood_of_birth_months_with_two_penalties(examples, monkeypatch):
    begin = LogLikelihood(np.random.default_rng(1).normal(size=(3, N_BINS)), np.linspace(-1, 1, N_BINS), START, 0)
    seen = loss_of(monkeypatch, examples.matrix, examples.months, BIRTHS, begin, 0.05)
    for seed in range(3):
        theta = np.random.default_rng(seed).normal(size=(4, N_BINS))
        expected = loss_by_definition(theta, examples.matrix, examples.months, begin, 0.05)
        assert seen.loss(theta.ravel())[0] == pytest.approx(expected, rel=1e-6)  # single precision


def test_the_gradient_of_the_loss_is_its_slope(examples, monkeypatch):
    begin = LogLikelihood(np.zeros((3, N_BINS)), np.zeros(N_BINS), START, 0)
    seen = loss_of(monkeypatch, examples.matrix, examples.months, BIRTHS, begin, 0.05)
    random = np.random.default_rng(2)
    for _ in range(6):
        theta, step = random.normal(size=(4, N_BINS)), 1e-4 * random.normal(size=(4, N_BINS))
        above, below = (
            loss_by_definition(at, examples.matrix, examples.months, begin, 0.05) for at in (theta + step, theta - step)
        )
        slope = seen.loss(theta.ravel())[1] @ step.ravel()
        assert slope == pytest.approx((above - below) / 2, rel=1e-4, abs=1e-7)


def test_tuning_lowers_its_loss_and_ends_where_it_is_flat(monkeypatch):
    examples = simulated(400, seed=6)
    seen = loss_of(monkeypatch, examples.matrix, examples.months, BIRTHS, fit(examples), 0.1)
    end = np.vstack([seen.log_likelihood.weights, seen.log_likelihood.intercepts])
    (before, slope_before), (after, slope_after) = (seen.loss(theta) for theta in (seen.first, end.ravel()))
    assert after < before - 1
    assert np.abs(slope_after).max() < 0.05 * np.abs(slope_before).max()
    np.testing.assert_allclose(end.mean(axis=1), 0, atol=1e-12)


def test_without_anchor_inverse_penalty_the_weights_stay_unchanged():
    examples = simulated(400, seed=6)
    plain = fit(examples)
    tuned = train_through_filter.fine_tune(examples.matrix, examples.months, BIRTHS, plain, 1e-7)
    np.testing.assert_allclose(tuned.weights, plain.weights, rtol=0, atol=1e-3)
    free = train_through_filter.fine_tune(examples.matrix, examples.months, BIRTHS, plain, 0.1)
    assert np.abs(free.weights - plain.weights).max() > 0.1


def test_tuning_may_begin_anywhere():
    examples = simulated(400, seed=6)
    plain = fit(examples)
    found = train_through_filter.fine_tune(examples.matrix, examples.months, BIRTHS, plain, 0.1)
    near = train_through_filter.fine_tune(examples.matrix, examples.months, BIRTHS, plain, 0.03)
    np.testing.assert_allclose(
        train_through_filter.fine_tune(examples.matrix, examples.months, BIRTHS, plain, 0.1, search_from=near).weights,
        found.weights,
        rtol=0,
        atol=0.02,
    )


def evaluated(log_likelihood: LogLikelihood, examples: Examples) -> float:
    """Log-loss on the newest months, with the best settings for these log-likelihoods."""
    months = last_months(examples.months, 3)
    readouts = Readouts.plain(examples, log_likelihood.of(examples.matrix), months, BIRTHS).scored()
    return loss_at(readouts, calibration.best_settings(readouts))


def loss_at(readouts: Readouts, read: ReadoutSettings, noise: float = 0.0) -> float:
    return calibration.log_loss(readouts.probabilities(plain_weights(readouts, read)), readouts, noise)


def plain_weights(readouts: Readouts, read: ReadoutSettings) -> ReadoutWeights:
    return ReadoutWeights.plain(read, len(readouts.ages.bins))


def test_fine_tuning_finds_features_that_only_duplicate_themselves():
    """Three features are independent every month, six duplicate the first month's. One month is not enough."""
    examples, held_out = simulated(1500, seed=7, n_repeating=2), simulated(1500, seed=8, n_repeating=2)
    plain = fit(examples)
    tuned = train_through_filter.fine_tune(examples.matrix, examples.months, BIRTHS, plain, 0.1)
    assert evaluated(tuned, held_out) < evaluated(plain, held_out) - 0.01
    before, after = (np.abs(log_likelihood.weights).sum(axis=1) for log_likelihood in (plain, tuned))
    assert (after[3:] < 0.7 * before[3:]).all() and (after[:3] > 0.9 * before[:3]).all()


# Calibration.


# Bins of one month each, so that log-likelihoods are exact.
MONTHLY = Ages(("not_yet", *map(str, range(8)), "grown"), tuple(range(-1, 10)), ("young", "old"), (0, 4, 8))
MONTHLY_START = np.full(10, 0.1)
MONTHLY_BIRTHS = BirthMonths(MONTHLY, N_MONTHS, MONTHLY_START, HAZARD)


def sampled(n_users: int, seed: int, repeated: bool = False, wrong: float = 0.0) -> tuple[Months, np.ndarray]:
    """Months of children sampled from the prior, with the true log-likelihood of the observed features in each.

    repeated: every month duplicates the user's first; wrong: share of users with another user's birthday.
    """
    random, n_bins = np.random.default_rng(seed), len(MONTHLY.bins)
    age = random.choice([-1, *range(9), 9], n_users, p=prior_by_tenure(MONTHLY, MONTHLY_START, HAZARD, 1)[0])
    age = np.where(age < 0, -random.geometric(HAZARD, n_users), age) + N_MONTHS - 1
    months = months_of([(int(now), N_MONTHS - 1, list(range(N_MONTHS))) for now in age])
    met_in = 0.7 * np.exp(-np.abs(np.subtract.outer(np.arange(n_bins), np.arange(n_bins)))) + 0.02
    met_in /= met_in.sum(axis=1, keepdims=True)  # bins x features
    age_bin = np.clip(months.age + 1, 0, n_bins - 1)
    met = (random.random(len(months))[:, None] > met_in[age_bin].cumsum(axis=1)).sum(axis=1)
    if repeated:
        met = np.repeat(met[months.first_of_users], months.counts)
    registered = np.where(random.random(n_users) < wrong, random.permutation(age), age)
    moved = np.repeat(registered - age, months.counts)
    return Months(months.user, months.lag, months.age + moved, months.tenure), np.log(met_in[:, met]).T


def readouts_at(months: Months, log_likelihood: np.ndarray, factor: float = 1.0, n_last: int = 4) -> Readouts:
    active = Examples(months, csr_matrix((len(months), 1)), np.ones(len(months), bool))
    return Readouts.plain(active, factor * log_likelihood, last_months(months, n_last), MONTHLY_BIRTHS).scored()


@pytest.fixture(scope="module")
def honest():
    """Correctly scaled log-likelihoods."""
    return sampled(2500, seed=1)


def test_log_likelihoods_twice_as_steep_are_scaled_by_half(honest):
    """The joint effect of tau and gamma on a whole history: correct log-likelihoods keep their scale."""
    for factor in (0.5, 1.0, 2.0):
        best = calibration.best_settings(readouts_at(*honest, factor), noise=0)
        assert best.tau * N_MONTHS**-best.gamma == pytest.approx(1 / factor, rel=0.15)
        assert min(calibration.TAUS) < best.tau < max(calibration.TAUS) and best.gamma < max(calibration.GAMMAS)


def test_months_that_only_duplicate_the_first_one_count_less_the_more_there_are(honest):
    repeated = calibration.best_settings(readouts_at(*sampled(2500, seed=2, repeated=True)))
    assert repeated.gamma == max(calibration.GAMMAS) > calibration.best_settings(readouts_at(*honest)).gamma
    assert repeated.tau * N_MONTHS**-repeated.gamma < 0.3, "six months count for little more than one"


def test_the_best_settings_of_a_model_lie_within_the_grid(model_of_base):
    """At an end of the grid, a better value may lie beyond it."""
    model, _ = model_of_base
    assert min(calibration.TAUS) < model["tau"] < max(calibration.TAUS)
    assert model["gamma"] < max(calibration.GAMMAS) and model["delta"] < max(DELTAS)


def test_without_allowance_for_wrong_birthdays_the_prior_mixing_weight_pays_for_them():
    wrong = readouts_at(*sampled(2500, seed=3, wrong=0.1))
    plain, aware = (calibration.best_settings(wrong, noise) for noise in (0.0, 0.1))
    assert aware.delta < plain.delta


@pytest.mark.parametrize("wrong", [0.0, 0.05, 0.2])
def test_the_share_of_wrong_birthdays_is_recovered(wrong):
    """A wrong birthday is another user's, so it is right by chance in some cases."""
    readouts = readouts_at(*sampled(6000, seed=4, wrong=wrong), n_last=1)
    found = calibration.noise_of(readouts, ReadoutSettings(1.0, 0.0, 0.003))
    assert found == pytest.approx(wrong, abs=0.02 + wrong / 5)


def test_without_users_the_share_of_wrong_birthdays_is_the_expected_one(honest):
    few = readouts_at(*honest).of_users(3)
    assert calibration.noise_of(few, ReadoutSettings()) == pytest.approx(calibration.NOISE, abs=0.01)


def test_some_of_the_belief_always_stays_with_the_prior():
    """So a single wrong birthday, however extreme its log-likelihood is, costs a finite loss."""
    assert min(*DELTAS, ReadoutSettings().delta, UNCALIBRATED.delta) > 0
    readouts = readouts_at(months_of([(0, 0, [0])]), 4000.0 * (np.array([MONTHLY.bins]) == "6"), n_last=1)
    best = calibration.best_settings(readouts, noise=0)
    for settings_tried in (UNCALIBRATED, ReadoutSettings(), best):
        assert np.isfinite(loss_at(readouts, settings_tried))
    assert best.delta == max(DELTAS)


def test_log_loss_and_calibration_error_follow_their_definitions(honest):
    readouts, read = readouts_at(*honest), ReadoutSettings(1.5, 0.15, 0.03)
    stage = MONTHLY.stage_of(last_months(honest[0], 4).age)
    truth = stage[stage >= 0]
    predicted = readouts.probabilities(plain_weights(readouts, read))
    assert predicted.shape == (len(truth), 2) and (stage < 0).sum() > 0
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-12)
    prior = readouts.prior[:, :2] / readouts.prior[:, :2].sum(axis=1, keepdims=True)
    for noise in (0.0, 0.1):
        mixed = (1 - noise) * predicted + noise * prior
        log_loss = -sum(np.log(mixed[n, s]) for n, s in enumerate(truth)) / len(truth)
        assert loss_at(readouts, read, noise) == pytest.approx(log_loss, abs=1e-12)
    error, confidence = 0.0, predicted.max(axis=1)
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & ((confidence < low + 1 / 15) | (low > 0.93))
        if inside.any():
            right = (predicted[inside].argmax(axis=1) == truth[inside]).mean()
            error += inside.mean() * abs(right - confidence[inside].mean())
    assert calibration.calibration_error(predicted, readouts.stage) == pytest.approx(error, abs=1e-12)


def test_the_best_settings_have_the_least_loss_of_the_grid(honest):
    readouts = readouts_at(*honest)
    least = loss_at(readouts, calibration.best_settings(readouts), calibration.NOISE)
    for tau in calibration.TAUS[::3]:
        for gamma in calibration.GAMMAS[::2]:
            for delta in DELTAS[::2]:
                assert least <= loss_at(readouts, ReadoutSettings(tau, gamma, delta), calibration.NOISE)


# Learned readout.


def learned_readouts(n_users: int, seed: int) -> Readouts:
    """Readouts with log-likelihoods that are twice as steep for half of the users, marked by their unspecific share."""
    months, log_likelihood = sampled(n_users, seed)
    marked = months.user % 2 == 1
    active = Examples(months, csr_matrix(np.column_stack([marked, ~marked]).astype(float)), np.ones(len(months), bool))
    factor = np.where(marked, 2.0, 1.0)[:, None]
    kinds = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    table = np.zeros((activity.N_CODES, len(MONTHLY.bins)))
    births = MONTHLY_BIRTHS
    return Readouts.of(active, factor * log_likelihood, last_months(months, 4), births, kinds, table).scored()


def loss_of_readout(monkeypatch, readouts: Readouts, read: ReadoutSettings, noise: float):
    """The loss that calibration.fit minimises, where it begins, and the weights that it returns."""
    seen = SimpleNamespace()

    def minimize(loss, first, **words):
        seen.loss, seen.first = loss, first
        return original(loss, first, **words)

    original = calibration.minimize
    with monkeypatch.context() as patch:
        patch.setattr(calibration, "minimize", minimize)
        seen.weights = calibration.fit(readouts, read, noise)
    return seen


def test_the_learned_readout_begins_with_the_plain_one(monkeypatch):
    readouts, read = learned_readouts(300, seed=5), ReadoutSettings(1.3, 0.3, 0.02)
    seen = loss_of_readout(monkeypatch, readouts, read, 0.04)
    assert seen.loss(seen.first)[0] == pytest.approx(loss_at(readouts, read, 0.04), rel=1e-5)


def test_the_gradient_of_the_readout_loss_is_its_slope(monkeypatch):
    readouts = learned_readouts(200, seed=6)
    readouts = Readouts(*(getattr(readouts, name) for name in ("months", "total")), readouts.total[:, ::-1] / 9,
                        *(getattr(readouts, name) for name in ("log_prior", "terms", "ages")))  # fmt: skip
    seen = loss_of_readout(monkeypatch, readouts, ReadoutSettings(), 0.05)
    random = np.random.default_rng(2)
    for _ in range(6):
        at, step = seen.first + random.normal(0, 0.1, seen.first.shape), random.normal(0, 1e-2, seen.first.shape)
        slope = seen.loss(at)[1] @ step
        assert slope == pytest.approx((seen.loss(at + step)[0] - seen.loss(at - step)[0]) / 2, rel=2e-2, abs=2e-6)


def test_a_learned_readout_finds_whose_log_likelihoods_are_too_steep():
    training, held_out = learned_readouts(2500, seed=7), learned_readouts(2500, seed=8)
    read = calibration.best_settings(training, noise=0)
    weights = calibration.fit(training, read, 0.0)
    before = loss_at(held_out, read)
    after = calibration.log_loss(held_out.probabilities(weights), held_out)
    assert after < before - 0.005
    assert weights.log_tau[TERMS.index("unspecific_share")] < -0.3


def test_a_term_that_is_constant_but_for_rounding_has_no_weight():
    """With one month of history, recent_share is 1/6 for everybody, and the rounding error of its mean is no spread."""
    readouts, recent = learned_readouts(300, seed=5), TERMS.index("recent_share")
    readouts.terms[:, recent] = 1 / 6
    assert 0 < readouts.terms[:, recent].std() < 1e-15
    weights = calibration.fit(readouts, ReadoutSettings(), 0.04)
    assert np.abs(weights.log_tau).max() < 10 and abs(weights.log_tau[recent]) < 1e-9


def test_with_few_users_the_learned_readout_stays_near_the_plain_one(honest):
    readouts = readouts_at(*honest)
    read = calibration.best_settings(readouts)
    plain = readouts.probabilities(plain_weights(readouts, read))
    moved = [
        np.abs(readouts.probabilities(calibration.fit(readouts.of_users(n), read, 0.04)) - plain).mean()
        for n in (5, 2000)
    ]
    assert moved[0] < 0.02 and max(moved) < 0.1


def test_intervals_hold_the_birth_months_of_others():
    """In every group of predicted stage and active months of readouts that did not determine the levels."""
    training, held_out = readouts_at(*sampled(4000, seed=9)), readouts_at(*sampled(4000, seed=10))
    weights = plain_weights(training, ReadoutSettings(2.5, 0.0, 0.003))  # overconfident
    levels = calibration.interval_levels(training, weights)
    of_ages = held_out.posterior(weights)[:, 1:-1]
    younger = of_ages.cumsum(axis=1) / of_ages.sum(axis=1, keepdims=True)
    stage = held_out.probabilities(weights).argmax(axis=1)
    n_active = np.rint(np.exp(held_out.terms[:, TERMS.index("log_active_months")])).astype(int)
    level = levels[stage, np.searchsorted((2, 4, 9), n_active, side="right")]
    low, high = (
        np.array([np.searchsorted(row, share) for row, share in zip(younger, shares, strict=True)])
        for shares in (0.5 - level, 0.5 + level)
    )
    age = held_out.months.age - held_out.ages.first
    inside = (low <= age) & (age <= high)
    assert 0.78 < inside.mean() < 0.92, "whole months cannot be divided"
    narrow = (np.array([np.searchsorted(row, 0.1) for row in younger]) <= age) & (
        age <= np.array([np.searchsorted(row, 0.9) for row in younger])
    )
    assert narrow.mean() < inside.mean()


# Activity model.


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=4))
def test_contexts_of_activity_follow_their_definition(users):
    months = months_of([(5, max(acted), sorted(acted, reverse=True)) for acted in users])
    found = activity.activity_of(months, 12)
    expected = []
    for user, acted in enumerate(users, start=int(months.user.min())):
        for lag in range(max(acted) - 1, -1, -1):
            before = [one for one in acted if one > lag]
            gap = sum(min(before) - lag - 1 >= limit for limit in (1, 2, 4, 7))
            rate = sum((len(before) + 1) / (max(acted) - lag + 2) >= limit for limit in (0.3, 0.55, 0.8))
            expected.append((user, lag, 2 * (4 * gap + rate) + (lag in acted)))
    assert list(zip(found.months.user, found.months.lag, found.code, strict=True)) == expected


def test_the_activity_model_learns_who_stops_to_act():
    """Old children's parents act in one month of five, the others in four."""
    random = np.random.default_rng(0)
    users = [
        (int(age), 19, [19, *(lag for lag in range(18, -1, -1) if random.random() < (0.2 if age > 25 else 0.8))])
        for age in random.choice([22, 31], 800)
    ]
    months = months_of(users)
    wide = Ages(("not_yet", "young", "old", "grown"), (-30, -3, 12, 40, 60), ("young", "old"), (-3, 12, 40))
    table = activity.fit(activity.activity_of(months, 20), wide)
    of_old = table[1::2, 2] - table[1::2, 1]
    assert of_old.mean() < 0, "an active month states a young child"
    np.testing.assert_allclose(table.mean(axis=1), 0, atol=0.2)


def test_sums_of_classes_are_those_of_their_rows(honest):
    months, _ = honest
    months = months[months.user < 50]
    readouts, random = last_months(months, 4), np.random.default_rng(1)
    table, code = random.normal(size=(7, len(MONTHLY.bins))), random.integers(0, 7, len(months))
    found = MONTHLY_BIRTHS.running_sum_of_classes(table, code, months, readouts)
    np.testing.assert_allclose(found, MONTHLY_BIRTHS.running_sum(table[code], months, readouts), atol=0.0005 * N_MONTHS)


# Regularisation.


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), max_size=40), st.integers(0, 120))
def test_folds_keep_users_whole_and_take_no_more_rows_than_are_enough(counts, enough):
    user = np.repeat(np.arange(len(counts)) * 3 + 2, counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regularisation, "MAX_ROWS", enough)
        fold = regularisation.folds_of(user)
    assert all(len(set(fold[user == one])) == 1 for one in user)
    assert (fold >= 0).sum() <= enough and set(fold) <= {-1, 0, 1, 2}
    if len(user) <= enough:
        assert (fold >= 0).all()
        sizes = [len(set(user[fold == n])) for n in range(regularisation.N_FOLDS)]
        assert max(sizes) - min(sizes) <= 1


def test_the_search_stops_at_the_first_candidate_that_is_not_better():
    tried = []

    def losses(values):
        for candidate, loss in enumerate(values):
            tried.append(candidate)
            yield candidate, loss

    assert regularisation.first_not_beaten(losses([5, 4, 3, 3, 1])) == 2
    assert tried == [0, 1, 2, 3]
    assert regularisation.first_not_beaten(losses([3, 2, 1])) == 2
    assert regularisation.first_not_beaten(losses([1, 2, 0])) == 0
    assert regularisation.first_not_beaten(iter([(0.3, np.inf), (1.0, 2.0)])) == 0, "none could be had"


def test_the_selected_inverse_penalty_is_the_best_for_held_out_users():
    """Forty features of pure noise: a weaker penalty fits better and predicts held-out users worse."""
    examples = simulated(150, seed=4)
    noise = np.random.default_rng(0).poisson(1, size=(len(examples.months), 40))
    noisy = Examples(examples.months, csr_matrix(np.hstack([examples.matrix.toarray(), noise])), examples.is_active)
    in_bins, age_bin = noisy.in_bins(AGES)
    fold = regularisation.folds_of(in_bins.months.user)

    def held_out_loss(c):
        total = 0.0
        for held_out in range(3):
            fitted = regression.fit(in_bins.matrix[fold != held_out], age_bin[fold != held_out], N_BINS, c)
            evaluated = fold == held_out
            total += regression.log_loss(fitted, in_bins.matrix[evaluated], age_bin[evaluated]) * evaluated.sum()
        return total

    losses = {c: held_out_loss(c) for c in regularisation.INVERSE_PENALTIES}
    best = min(losses, key=losses.__getitem__)
    assert regularisation.choose_inverse_penalty(noisy, AGES) == best < max(losses)


def test_with_too_few_users_regularisation_strengths_are_the_defaults():
    rows, matrix, vocabulary = training_tables(12)
    active = examples_of(rows, matrix, len(vocabulary), THROUGH).active(np.ones(len(vocabulary), bool))
    assert regularisation.choose_inverse_penalty(active, AGES) == regularisation.DEFAULT_INVERSE_PENALTY
    assert regularisation.choose_anchor_inverse_penalty(active, BIRTHS, 0.3) == 0
    outside = months_of([(age, 1, [1, 0]) for age in (-8, 11) for _ in range(90)])
    of_nobody_in_a_stage = Examples(outside, csr_matrix(np.eye(N_BINS)[AGES.bin_of(outside.age)]), np.ones(360, bool))
    assert regularisation.choose_anchor_inverse_penalty(of_nobody_in_a_stage, BIRTHS, 0.3) == 0


def test_the_anchor_inverse_penalty_is_positive_only_where_it_helps_held_out_users(monkeypatch):
    examples = simulated(900, seed=7, n_repeating=2)
    assert regularisation.choose_anchor_inverse_penalty(examples, BIRTHS, 0.3) > 0

    def worse(matrix, rows, births, anchor, anchor_inverse_penalty, search_from):
        return LogLikelihood(-anchor.weights, anchor.intercepts, anchor.prior, 1)

    monkeypatch.setattr(train_through_filter, "fine_tune", worse)
    assert regularisation.choose_anchor_inverse_penalty(examples, BIRTHS, 0.3) == 0


@pytest.mark.parametrize(("errors", "is_taken"), [(0.9, False), (1.1, True)])
def test_fine_tuning_is_kept_only_for_a_gain_above_its_standard_error(monkeypatch, errors, is_taken):
    examples, tuned = simulated(300, seed=7), []

    def log_losses(probability, readouts, noise):
        gain = np.resize([-1.0, 1.0], len(readouts.months.counts))
        gain += errors * gain.std(ddof=1) / np.sqrt(len(gain)) - gain.mean()
        return np.repeat(5 - gain * bool(tuned), readouts.months.counts)

    monkeypatch.setattr(train_through_filter, "fine_tune", lambda *_, **__: tuned.append(1) or fit(examples))
    monkeypatch.setattr(calibration, "log_losses", log_losses)
    monkeypatch.setattr(calibration, "best_settings", lambda readouts: ReadoutSettings())
    assert (regularisation.choose_anchor_inverse_penalty(examples, BIRTHS, 0.3) > 0) is is_taken


def test_the_anchor_inverse_penalty_is_evaluated_on_held_out_users(monkeypatch):
    trained_on, evaluated_on = set(), set()

    def fine_tune(matrix, rows, *arguments, **options):
        trained_on.update(rows.user)
        return original(matrix, rows, *arguments, **options)

    class Watched(Readouts):
        @classmethod
        def plain(cls, active, log_likelihood, months, births):
            evaluated_on.update(active.months.user)
            return Readouts.plain(active, log_likelihood, months, births)

    original = train_through_filter.fine_tune
    monkeypatch.setattr(train_through_filter, "fine_tune", fine_tune)
    monkeypatch.setattr(regularisation, "Readouts", Watched)
    regularisation.choose_anchor_inverse_penalty(simulated(300, seed=7), BIRTHS, 0.3)
    assert len(trained_on) == 200 and len(evaluated_on) == 100 and not trained_on & evaluated_on
