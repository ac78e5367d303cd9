"""Training, step 3: calibration of the posterior readout on validation users.

P = (1 - delta) softmax(tau * n ** -gamma * C + ln prior) + delta * prior, with C the summed log-likelihood and n the
active months so far. A user's months are correlated, so their sum overstates the certainty; gamma corrects it.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.sparse import csr_matrix

from life_stage.birth_months import BirthMonths, Months, months_so_far, softmax
from life_stage.regression import LogLikelihood

TAUS = (0.5, 0.6, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.4, 2.8)
GAMMAS = (0.0, 0.15, 0.3, 0.45, 0.6)
# Never 0: the registered birthday of one user in twenty is wrong, and one such user would outweigh all others.
DELTAS = (0.003, 0.01, 0.02, 0.03, 0.06)


@dataclass(frozen=True)
class ReadoutSettings:
    """Parameters of the posterior readout."""

    tau: float = 1.3
    gamma: float = 0.2
    delta: float = 0.02


UNCALIBRATED = ReadoutSettings(1.0, 0.0, min(DELTAS))


class PosteriorReadout:
    """Posterior at given readouts under any settings. All results have one row per readout."""

    def __init__(
        self, matrix: csr_matrix, rows: Months, readouts: Months, births: BirthMonths, log_likelihood: LogLikelihood
    ) -> None:
        """matrix: rows x features."""
        total = births.running_sum(matrix @ log_likelihood.weights + log_likelihood.intercepts, rows, readouts)
        self._set_up(np.arange(len(readouts)), total, readouts, rows, births)

    def _set_up(
        self, chosen: np.ndarray, total: np.ndarray, readouts: Months, rows: Months, births: BirthMonths
    ) -> None:
        self._total, self.readouts, self._ages = total[chosen], readouts[chosen], births.ages
        self._log_prior = births.log_prior(self.readouts)
        self._n_active = np.maximum(months_so_far(rows, self.readouts), 1.0)
        self._cell_ages = births.age_now[None, :] - self.readouts.lag[:, None]
        stage_of_cell = births.ages.stage_of(self._cell_ages)
        self._in_stage = [np.pad(stage_of_cell == s, ((0, 0), (1, 1))) for s in range(len(births.ages.stages))]
        self._prior = self._masses(np.exp(self._log_prior))

    def _masses(self, posterior: np.ndarray) -> np.ndarray:
        """readouts x stages: posterior mass (readouts x cells) of each stage."""
        return np.stack([(posterior * inside).sum(axis=1) for inside in self._in_stage], axis=1)

    def _posterior(self, tau: float, gamma: float) -> np.ndarray:
        steepness = tau * self._n_active**-gamma
        return softmax(steepness[:, None] * self._total + self._log_prior)

    def stage_masses(self, tau: float, gamma: float) -> np.ndarray:
        """readouts x stages: the masses before the prior is mixed in."""
        return self._masses(self._posterior(tau, gamma))

    def median_ages(self, settings: ReadoutSettings) -> np.ndarray:
        """The median of the child's age in months; an outer cell counts as the age next to the grid."""
        cumulative = self._posterior(settings.tau, settings.gamma).cumsum(axis=1)
        ages = np.pad(self._cell_ages, ((0, 0), (1, 1)), mode="reflect", reflect_type="odd")
        ages = np.clip(ages, self._ages.first - 1, self._ages.last + 1)
        return ages[np.arange(len(ages)), np.minimum((cumulative < 0.5).sum(axis=1), ages.shape[1] - 1)]

    def probabilities(self, settings: ReadoutSettings, masses: np.ndarray | None = None) -> np.ndarray:
        """readouts x stages: the probabilities as published; `masses`: of stage_masses, if computed already."""
        masses = self.stage_masses(settings.tau, settings.gamma) if masses is None else masses
        mixed = (1 - settings.delta) * masses + settings.delta * self._prior
        return mixed / mixed.sum(axis=1, keepdims=True)


class CalibrationObjective(PosteriorReadout):
    """Readout with the true stages: scores of any settings, and the best settings of the grid."""

    def __init__(
        self, matrix: csr_matrix, rows: Months, readouts: Months, births: BirthMonths, log_likelihood: LogLikelihood
    ) -> None:
        """matrix: rows x features. Only readouts with a true stage are scored."""
        stage = births.ages.stage_of(readouts.age)
        evaluated = np.flatnonzero(stage >= 0)
        self.stage = stage[evaluated]
        total = births.running_sum(matrix @ log_likelihood.weights + log_likelihood.intercepts, rows, readouts)
        self._set_up(evaluated, total, readouts, rows, births)

    def log_loss(self, settings: ReadoutSettings, masses: np.ndarray | None = None) -> float:
        """Mean of minus the natural logarithm of the true stage's probability."""
        predicted = self.probabilities(settings, masses)
        return float(-np.log(predicted[np.arange(len(predicted)), self.stage]).mean())

    def calibration_error(self, settings: ReadoutSettings) -> float:
        """Expected calibration error: mean gap between confidence and accuracy, in 15 bins of confidence."""
        predicted = self.probabilities(settings)
        confidence, right = predicted.max(axis=1), predicted.argmax(axis=1) == self.stage
        bins = np.minimum((confidence * 15).astype(int), 14)
        gaps = np.bincount(bins, weights=right, minlength=15) - np.bincount(bins, weights=confidence, minlength=15)
        return float(np.abs(gaps).sum() / len(predicted))

    def best(self) -> ReadoutSettings:
        """The settings of the grid with the least log-loss."""
        losses = {}
        for tau, gamma in product(TAUS, GAMMAS):
            masses = self.stage_masses(tau, gamma)
            for delta in DELTAS:
                settings = ReadoutSettings(tau, gamma, delta)
                losses[settings] = self.log_loss(settings, masses)
        return min(losses, key=losses.__getitem__)
