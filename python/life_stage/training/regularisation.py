"""Regularisation strengths, chosen by cross-validation on users.

C of the regression (step 1), and the inverse penalty on the distance from its weights in fine-tuning (step 2).
"""

from collections.abc import Iterator

import numpy as np

from life_stage.filtering.birth_months import Ages, BirthMonths
from life_stage.readout import calibration
from life_stage.readout.readout import Readouts
from life_stage.training import regression, train_through_filter
from life_stage.training.examples import Examples
from life_stage.training.regression import NotTrainedError

INVERSE_PENALTIES = (0.03, 0.1, 0.3, 1.0)
ANCHOR_INVERSE_PENALTIES = (1 / 300, 1 / 100, 1 / 30, 1 / 10)
N_FOLDS = 3
MAX_ROWS = 20_000
DEFAULT_INVERSE_PENALTY = 0.1  # with too few users for cross-validation
MIN_HELD_OUT_USERS = 20  # below: no fine-tuning, for a standard error of few users is unreliable


def folds_of(user: np.ndarray) -> np.ndarray:
    """The cross-validation fold of each row, 0 to N_FOLDS - 1, by user; -1: unused, beyond MAX_ROWS."""
    users, counts = np.unique(user, return_counts=True)
    order = np.random.default_rng(0).permutation(len(users))
    taken = np.cumsum(counts[order]) <= MAX_ROWS
    fold = np.full(len(users), -1)
    fold[order[taken]] = np.arange(taken.sum()) % N_FOLDS
    return fold[np.searchsorted(users, user)]


def first_not_beaten(losses: Iterator[tuple[float, float]]) -> float:
    """The last candidate of (candidate, loss) that reduces the loss, up to the first that does not; 0 if none does."""
    best, least = 0.0, np.inf
    for candidate, loss in losses:
        if loss >= least:
            break
        best, least = candidate, loss
    return best


def choose_inverse_penalty(active: Examples, ages: Ages) -> float:
    """The C with the least log-loss on held-out users, from the strongest penalty on; the default with too few."""
    in_bins, age_bin = active.in_bins(ages)
    fold = folds_of(in_bins.months.user)

    fitted: list[regression.LogLikelihood | None] = [None] * N_FOLDS

    def loss(candidate: float) -> float:
        total = 0.0
        for held_out in range(N_FOLDS):
            training, test = (fold >= 0) & (fold != held_out), fold == held_out
            try:
                fitted[held_out] = regression.fit(
                    in_bins.matrix[training], age_bin[training], len(ages.bins), candidate, fitted[held_out]
                )
            except NotTrainedError:
                return np.inf
            total += regression.log_loss(fitted[held_out], in_bins.matrix[test], age_bin[test]) * test.sum()
        return total

    return first_not_beaten((c, loss(c)) for c in INVERSE_PENALTIES) or DEFAULT_INVERSE_PENALTY


def choose_anchor_inverse_penalty(active: Examples, births: BirthMonths, inverse_penalty: float) -> float:
    """The anchor inverse penalty with the least log-loss of the stage on held-out users, each with its best readout.

    0, which leaves the regression unchanged, unless the loss falls by more than the standard error of the difference;
    also 0 with too few users.
    """
    fold = folds_of(active.months.user)
    training, test = active[fold > 0], active[fold == 0]
    in_bins, age_bin = training.in_bins(births.ages)
    readouts = test.months[train_through_filter.thirds(test.months)[0]]
    try:
        plain = regression.fit(in_bins.matrix, age_bin, len(births.ages.bins), inverse_penalty)
    except NotTrainedError:
        return 0.0
    if test.n_users < MIN_HELD_OUT_USERS or not (births.ages.stage_of(readouts.age) >= 0).any():
        return 0.0

    def losses(log_likelihood: regression.LogLikelihood) -> np.ndarray:
        """Mean loss of each user."""
        held_out = Readouts.plain(test, log_likelihood.of(test.matrix), readouts, births).scored()
        probability = calibration.best_probabilities(held_out)
        return held_out.months.user_means(calibration.log_losses(probability, held_out, calibration.NOISE))

    tried = {0.0: losses(plain)}

    def means() -> Iterator[tuple[float, float]]:
        yield 0.0, tried[0.0].mean()
        tuned = plain
        for anchor_inverse_penalty in ANCHOR_INVERSE_PENALTIES:
            tuned = train_through_filter.fine_tune(
                training.matrix, training.months, births, plain, anchor_inverse_penalty, search_from=tuned
            )
            tried[anchor_inverse_penalty] = losses(tuned)
            yield anchor_inverse_penalty, tried[anchor_inverse_penalty].mean()

    best = first_not_beaten(means())
    gain = tried[0.0] - tried[best]
    return best if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)) else 0.0
