"""Posterior readout of the birth-month filter in NumPy, for training; the SQL is birth_month_filter.sql.

    logit(b) = tau C(b) + kappa A(b) + ln prior(b) + bias(age bin of b)
    P(b) = (1 - delta) softmax(logit)(b) + delta prior(b)

C: log-likelihoods of the user's months, summed per birth month b; A: the same for the activity model. ln tau,
logit delta and the biases are linear in the terms of TERMS, which describe how much and how consistently a user acted.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from life_stage.filtering.birth_months import Ages, BirthMonths, Months, months_so_far, softmax
from life_stage.readout import activity
from life_stage.training.examples import Examples

TERMS = (
    "constant",
    "log_active_months",
    "agreement",
    "sharpness",
    "volume",
    "unspecific_share",
    "purchase_share",
    "log_inactive_months",
    "recent_share",
)
STORED_TERMS = tuple(name for name in TERMS if name not in ("constant", "log_active_months", "log_inactive_months"))
RECENT_MONTHS = 6
BANDS = (2, 4, 9)  # active months from which an interval has its next level, as in the macro interval_bands
MIN_DELTA = 0.003  # one user in twenty has a wrong birthday, and one such user would outweigh all others
UNSPECIFIC = 0.8  # a leaf category is unspecific below this share of the mean spread of leaf categories' weights


@dataclass(frozen=True)
class ReadoutSettings:
    """The plain readout: tau * n ** -gamma instead of tau, a constant delta, neither activity nor bias."""

    tau: float = 1.3
    gamma: float = 0.2
    delta: float = 0.02


@dataclass(frozen=True)
class ReadoutWeights:
    """Parameters of the readout. log_tau, logit_delta: one per term; bias: terms x bins, 0 outside the stages."""

    log_tau: np.ndarray
    logit_delta: np.ndarray
    kappa: float
    bias: np.ndarray

    @classmethod
    def plain(cls, settings: ReadoutSettings, n_bins: int) -> "ReadoutWeights":
        """The weights that equal the plain readout."""
        log_tau, logit_delta = np.zeros(len(TERMS)), np.zeros(len(TERMS))
        log_tau[:2] = np.log(settings.tau), -settings.gamma
        logit_delta[0] = np.log(settings.delta / (1 - settings.delta))
        return cls(log_tau, logit_delta, 0.0, np.zeros((len(TERMS), n_bins)))


def day_kinds(features: list[str], weights: np.ndarray) -> np.ndarray:
    """features x (all, unspecific, purchases): marks of the model's features that count days in leaf categories.

    A leaf category is unspecific if its weights (features x bins) hardly depend on the age. The model does not have
    features without weights. Same as in model_weights.
    """
    spread = np.sqrt((weights**2).mean(axis=1))
    is_known = np.array([name.startswith("leaf=") for name in features], bool) & (spread > 0)
    is_leaf = is_known & [":" not in name for name in features]
    is_purchase = is_known & [name.endswith(":purchase") for name in features]
    limit = UNSPECIFIC * spread[is_leaf].mean() if is_leaf.any() else 0.0
    return np.stack([is_leaf, is_leaf & (spread < limit), is_purchase], axis=1).astype(float)


@dataclass(frozen=True)
class Readouts:
    """The sums of users at their readouts. total, activity, log_prior: readouts x (not_yet, ages, graduated).

    terms: readouts x TERMS; months.age is the true age, if known.
    """

    months: Months
    total: np.ndarray
    activity: np.ndarray
    log_prior: np.ndarray
    terms: np.ndarray
    ages: Ages

    def __len__(self) -> int:
        return len(self.months)

    def __getitem__(self, chosen: np.ndarray) -> "Readouts":
        arrays = (of[chosen] for of in (self.months, self.total, self.activity, self.log_prior, self.terms))
        return Readouts(*arrays, self.ages)

    @classmethod
    def of(
        cls,
        active: Examples,
        log_likelihood: np.ndarray,
        months: Months,
        births: BirthMonths,
        kinds: np.ndarray,
        activity_table: np.ndarray,
    ) -> "Readouts":
        """Readouts at `months` of the users of `active`, their active months with features.

        log_likelihood: active months x bins; kinds: day_kinds of the features; activity_table: of activity.fit.
        """
        total = births.by_age(births.running_sum(log_likelihood, active.months, months), months)
        acted = activity.activity_of(
            active.months, 1 + int(max(active.months.lag.max(initial=0), months.lag.max(initial=0)))
        )
        of_activity = births.running_sum_of_classes(activity_table, acted.code, acted.months, months)
        return cls(
            months,
            total,
            births.by_age(of_activity, months),
            births.by_age(births.log_prior(months), months),
            terms_of(active, log_likelihood, months, total, kinds),
            births.ages,
        )

    @classmethod
    def plain(cls, active: Examples, log_likelihood: np.ndarray, months: Months, births: BirthMonths) -> "Readouts":
        """Readouts for plain weights: without terms of the kinds of days, and without the activity model."""
        kinds = np.zeros((active.matrix.shape[1], 3))
        table = np.zeros((activity.N_CODES, len(births.ages.bins)))
        return cls.of(active, log_likelihood, months, births, kinds, table)

    @cached_property
    def prior(self) -> np.ndarray:
        """readouts x (stages, not yet, graduated): the prior probabilities."""
        return self.masses(np.exp(self.log_prior))

    @cached_property
    def stage(self) -> np.ndarray:
        """Index of the true stage; -1: none."""
        return self.ages.stage_of(self.months.age)

    @cached_property
    def bins(self) -> np.ndarray:
        """Index of the age bin of each grid point."""
        inner = self.ages.bin_of(np.arange(self.ages.first, self.ages.last + 1))
        return np.concatenate([[0], inner, [len(self.ages.bins) - 1]])

    @cached_property
    def stage_slices(self) -> list[slice]:
        """The grid points of each stage."""
        edges = np.array(self.ages.stage_edges) - self.ages.first + 1
        return [slice(low, high) for low, high in itertools.pairwise(edges)]

    def masses(self, posterior: np.ndarray) -> np.ndarray:
        """readouts x (stages, not yet, graduated) from readouts x grid points."""
        stages = [posterior[:, inside].sum(axis=1) for inside in self.stage_slices]
        return np.stack([*stages, posterior[:, 0], posterior[:, self.stage_slices[-1].stop :].sum(axis=1)], axis=1)

    def posterior(self, weights: ReadoutWeights) -> np.ndarray:
        """readouts x grid points, before the prior is mixed in."""
        logits = np.exp(self.terms @ weights.log_tau)[:, None] * self.total + self.log_prior
        if weights.kappa:
            logits += weights.kappa * self.activity
        if weights.bias.any():
            logits += (self.terms @ weights.bias)[:, self.bins]
        return softmax(logits)

    def probabilities(self, weights: ReadoutWeights) -> np.ndarray:
        """readouts x stages: the probabilities as published, given that the child is in a stage."""
        delta = np.maximum(1 / (1 + np.exp(-(self.terms @ weights.logit_delta))), MIN_DELTA)[:, None]
        return self.in_stages(self.masses(self.posterior(weights)), delta)

    def entering(self, weights: ReadoutWeights, months_ahead: int) -> np.ndarray:
        """readouts x stages: the probabilities that the child is in the stage then and is not in it now."""
        posterior, now = self.posterior(weights), self.probabilities(weights)
        later = self.ages.stage_of(np.arange(self.ages.first, self.ages.last + 1) + months_ahead)
        found = np.zeros_like(now)
        for before, inside in enumerate(self.stage_slices):
            mass = np.maximum(posterior[:, inside].sum(axis=1), 1e-300)
            reached = later[inside.start - 1 : inside.stop - 1]
            for after in set(reached) - {before, -1}:
                found[:, after] += now[:, before] * posterior[:, inside][:, reached == after].sum(axis=1) / mass
        return found

    def in_stages(self, masses: np.ndarray, delta: np.ndarray | float) -> np.ndarray:
        """readouts x stages: masses mixed with the prior, given that the child is in a stage."""
        mixed = ((1 - delta) * masses + delta * self.prior)[:, : len(self.ages.stages)]
        return mixed / mixed.sum(axis=1, keepdims=True)

    def median_ages(self, weights: ReadoutWeights) -> np.ndarray:
        """The median of the child's age in months; an outer grid point counts as the age next to the grid."""
        cumulative = self.posterior(weights).cumsum(axis=1)
        return self.ages.first - 1 + np.minimum((cumulative < 0.5).sum(axis=1), cumulative.shape[1] - 1)

    @classmethod
    def joined(cls, parts: list["Readouts"]) -> "Readouts":
        """The readouts of disjoint users, one part after the other."""
        months = Months(*(np.concatenate([getattr(of.months, f.name) for of in parts]) for f in fields(Months)))
        names = ("total", "activity", "log_prior", "terms")
        arrays = (np.concatenate([getattr(of, name) for of in parts]) for name in names)
        return cls(months, *arrays, parts[0].ages)

    def of_users(self, n_users: int) -> "Readouts":
        """The readouts of the first users."""
        return self[slice(int(self.months.counts[:n_users].sum()))]

    def scored(self) -> "Readouts":
        """The readouts whose true stage is known."""
        return self[self.stage >= 0]


def terms_of(
    active: Examples, log_likelihood: np.ndarray, months: Months, total: np.ndarray, kinds: np.ndarray
) -> np.ndarray:
    """months x TERMS, from the sums over a user's active months up to each month."""
    rows = active.months
    per_month = np.column_stack([log_likelihood.max(axis=1), active.matrix @ kinds])
    cumulative = np.vstack([np.zeros(per_month.shape[1]), per_month.cumsum(axis=0)])
    n_months = months_so_far(rows, months)
    before = months_so_far(rows, replace(months, lag=months.lag + RECENT_MONTHS))
    step = 1 + int(max(rows.lag.max(initial=0), months.lag.max(initial=0)))
    key, wanted = (of.user * step - of.lag for of in (rows, months))
    end = np.searchsorted(key, wanted, side="right")
    peaks, days, unspecific, purchases = (cumulative[end] - cumulative[end - n_months]).T
    newest = np.where(n_months > 0, rows.lag[np.maximum(end - 1, 0)], months.lag + months.tenure)
    n_active = np.maximum(n_months, 1)
    found = stored_terms(n_active, total.max(axis=1), peaks, (days, unspecific, purchases), n_months - before)
    found |= {"constant": np.ones(len(months)), "log_active_months": np.log(n_active)}
    found["log_inactive_months"] = np.log1p(newest - months.lag)
    return np.column_stack([found[term] for term in TERMS])


def stored_terms(
    n_active: np.ndarray, largest: np.ndarray, peaks: np.ndarray, days: Sequence[np.ndarray], n_recent: np.ndarray
) -> dict[str, np.ndarray]:
    """The terms that birth_month_filter stores, from sums over a user's months; same as readout_term_columns.

    largest: the largest sum on the grid; peaks: sum of the months' largest log-likelihoods; days: in leaf categories,
    of them in unspecific ones, with purchases; n_recent: active months of the last RECENT_MONTHS.
    """
    all_days, unspecific, purchases = days
    return {
        "agreement": np.log(np.maximum(largest / np.maximum(peaks, 0.3), 0.02)),
        "sharpness": np.log(np.maximum(peaks, 0.1) / n_active + 0.05),
        "volume": np.log(all_days / n_active + 0.1),
        "unspecific_share": unspecific / (all_days + 1),
        "purchase_share": purchases / (all_days + 1),
        "recent_share": n_recent / RECENT_MONTHS,
    }
