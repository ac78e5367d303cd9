"""Comparison of a model with and without a feature group, on held-out users.

Users of train and validation in three folds; test users stay unseen, so that trying many features does not use up the
published evaluation. Each fold is scored by regressions on the two others, one with the group and one without, through
the birth-month filter, each with its best plain readout. Fine-tuning is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from life_stage.filtering.birth_months import Ages, BirthMonths, Months, last_months
from life_stage.readout import calibration
from life_stage.readout.readout import Readouts
from life_stage.training import regression
from life_stage.training.examples import Examples, hazard_of, initial_prior_of
from life_stage.training.regularisation import N_FOLDS

N_READOUTS = 8  # per user, the newest months
Z = 1.96  # of a 95 % interval


class Difference(NamedTuple):
    """Mean over users of the value with the group minus that without, and the 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, by_user: np.ndarray) -> "Difference":
        """Of the differences of the users."""
        error = Z * by_user.std(ddof=1) / np.sqrt(len(by_user))
        return cls(by_user.mean(), by_user.mean() - error, by_user.mean() + error)

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True)
class Trial:
    """The outcome. months, stage: of the scored readouts; p: (without, with) the group, of their registered stages.

    accuracies, log_losses: (without, with), means over users; weights: features of the group x bins, of the last fold.
    """

    months: Months
    stage: np.ndarray
    p: tuple[np.ndarray, np.ndarray]
    accuracies: tuple[float, float]
    log_losses: tuple[float, float]
    accuracy: Difference
    log_loss: Difference
    weights: np.ndarray

    def verdict(self, settings: Mapping[str, Any]) -> str:
        """What the interval of the log-loss says, with enough months and users. settings: vars of group verdicts."""
        min_cases, min_users = settings["verdicts_min_cases"], settings["verdicts_min_users"]
        if len(self.months) < min_cases or len(self.months.counts) < min_users:
            return f"too few: {min_cases} months of {min_users} users are needed; leave the group out"
        margin = settings["verdicts_margin"] * self.log_losses[0]
        if self.log_loss.high < -margin:
            return f"helps: the log-loss falls by more than chance and {margin:.4f}"
        if self.log_loss.low > margin:
            return f"harms: the log-loss rises by more than chance and {margin:.4f}"
        ruled_out = f"a gain above {max(-self.log_loss.low, 0):.4f} of log-loss is ruled out"
        return f"no difference beyond chance and {margin:.4f}; {ruled_out}"


def compare(
    active: Examples,
    fold: np.ndarray,
    is_added: np.ndarray,
    ages: Ages,
    inverse_penalty: float,
) -> Trial:
    """The trial of the features that are marked. active: months with actions; fold: of each. Raises NotTrainedError."""
    births = BirthMonths(
        ages,
        1 + int(active.months.lag.max(initial=0)),
        initial_prior_of(active.months, ages),
        hazard_of(active.months, ages),
    )
    folds = []
    for held_out in range(N_FOLDS):
        in_bins, age_bin = active[fold != held_out].in_bins(ages)
        plain = regression.fit(in_bins.matrix[:, ~is_added], age_bin, len(ages.bins), inverse_penalty)
        plain = plain.among(~is_added)
        extended = regression.fit(in_bins.matrix, age_bin, len(ages.bins), inverse_penalty, search_from=plain)
        test = active[fold == held_out]
        months = last_months(test.months, N_READOUTS)
        folds.append(
            [
                Readouts.plain(test, log_likelihood.of(test.matrix), months, births).scored()
                for log_likelihood in (plain, extended)
            ]
        )
    both = [Readouts.joined(of_folds) for of_folds in zip(*folds, strict=True)]
    return scored(both[0], [calibration.best_probabilities(readouts) for readouts in both], extended.weights[is_added])


def scored(readouts: Readouts, probabilities: list[np.ndarray], weights: np.ndarray) -> Trial:
    """The trial from readouts x stages without and with the group; each user counts the same."""
    means = readouts.months.user_means
    right = [means((p.argmax(axis=1) == readouts.stage).astype(float)) for p in probabilities]
    loss = [means(calibration.log_losses(p, readouts, calibration.NOISE)) for p in probabilities]
    return Trial(
        readouts.months,
        readouts.stage,
        tuple(p[np.arange(len(readouts)), readouts.stage] for p in probabilities),
        tuple(float(of.mean()) for of in right),
        tuple(float(of.mean()) for of in loss),
        Difference.of(right[1] - right[0]),
        Difference.of(loss[1] - loss[0]),
        weights,
    )
