"""Activity model: log-likelihood of a month with or without actions, by the age bin of the child.

It is conditional on the inactive months just before and on the user's own share of active months so far, so that an
inactive month of a rarely active user states little. The first month is given and has no log-likelihood.
"""

from dataclasses import dataclass

import numpy as np

from life_stage.filtering.birth_months import Ages, Months, last_months

GAPS = (1, 2, 4, 7)  # lower limits of the classes of inactive months just before; below the first: none
RATES = (0.3, 0.55, 0.8)  # limits of the classes of (active months before + 1) / (months before + 2)
N_CODES = 2 * (len(GAPS) + 1) * (len(RATES) + 1)
PSEUDO_MONTHS = 15  # weight of the context's mean over the age bins


@dataclass(frozen=True)
class Activity:
    """The months of users after their first active one; code: 2 * class of the past, plus 1 in an active month."""

    months: Months
    code: np.ndarray


def activity_of(active: Months, n_months: int) -> Activity:
    """Activity of users from their active months, through the newest of n_months."""
    months = last_months(active, n_months)
    began = active.lag[active.first_of_users]
    months = months[months.lag <= np.repeat(began, months.counts)]
    key, wanted = (of.user * (n_months + 1) - of.lag for of in (active, months))
    found = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    is_active, index = key[found] == wanted, np.arange(len(months))
    first = np.repeat(months.first_of_users, months.counts)
    active_before = np.cumsum(is_active) - is_active
    active_before -= active_before[first]
    newest_active = np.maximum.accumulate(np.where(is_active, index, -1))
    gap = index - 1 - np.append(-1, newest_active[:-1])
    code = 2 * context_of(gap, active_before, index - first) + is_active
    later = np.flatnonzero(index > first)
    return Activity(months[later], code[later])


def context_of(gap: np.ndarray, active_before: np.ndarray, months_before: np.ndarray) -> np.ndarray:
    """Context by the inactive months just before, the active months before, and all months before."""
    rate = (active_before + 1) / (months_before + 2)
    return np.digitize(gap, GAPS) * (len(RATES) + 1) + np.digitize(rate, RATES)


def fit(activity: Activity, ages: Ages) -> np.ndarray:
    """codes x bins: log-likelihoods counted on months of known age, relative to the bins' mean.

    Smoothed over neighbouring bins.
    """
    age_bin = ages.bin_of(activity.months.age)
    counts = np.zeros((N_CODES, len(ages.bins)))
    np.add.at(counts, (activity.code[age_bin >= 0], age_bin[age_bin >= 0]), 1)
    counts = counts.reshape(-1, 2, len(ages.bins))  # by context, inactive and active
    of_context = counts.sum(axis=2, keepdims=True)
    share = of_context / np.maximum(of_context.sum(axis=1, keepdims=True), 1)
    share = (counts + PSEUDO_MONTHS * share) / (counts.sum(axis=1, keepdims=True) + PSEUDO_MONTHS)
    found = np.log(np.maximum(share, 1e-4))
    found -= found.mean(axis=2, keepdims=True)
    found[..., 1:-1] = (found[..., :-2] + 2 * found[..., 1:-1] + found[..., 2:]) / 4
    return found.reshape(N_CODES, -1)
