"""Grid over pairs of birth months of two children, and the sums of log-likelihoods on it.

A session-category group is a user's actions in one month and leaf category. It is for one child, so its likelihood
under a pair is the mean over both children. Summing a month's groups first, as for one child, would mix the children. A
share of the groups is for no child (gifts, bulk purchases) and carries no information on birth months.

Arrays are pairs x users, so that all users of a pair are contiguous.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from life_stage.birth_months import Ages

STEP = 4  # birth months per cell
MIN_GAP = 10  # months between births; twins count as one child
FOR_NOBODY = 0.25  # share of groups that are for no child
SHARPNESS = 1.3  # factor on a group's log-likelihood, relative to a whole month's
LIMIT = 30.0  # maximum of a group's log-likelihood


@dataclass(frozen=True)
class PairCells:
    """Cells of the birth month (not_yet, births in steps, graduated) and all admissible pairs of them.

    A pair of a cell with itself is a single child; these come first. The index of a month is year * 12 + month - 1.
    """

    ages: Ages

    @cached_property
    def n_births(self) -> int:
        """Number of cells with a birth month: they cover all stages at every phase of the step."""
        return -(-(self.ages.stage_edges[-1] - self.ages.first) // STEP)

    @cached_property
    def pairs(self) -> np.ndarray:
        """(n_pairs, 2): indices of the younger and the older cell; the outer cells pair with all others."""
        n_cells = self.n_births + 2
        younger, older = np.triu_indices(n_cells)
        far_apart = (older - younger) * STEP >= MIN_GAP
        outer = (younger == 0) | (older == n_cells - 1)
        two = np.stack([younger, older], axis=1)[(far_apart | outer) & (younger != older)]
        return np.concatenate([np.arange(n_cells)[:, None].repeat(2, axis=1), two])

    @property
    def one(self) -> slice:
        """The pairs of a single child."""
        return slice(self.n_births + 2)

    @property
    def two(self) -> slice:
        """The pairs of two children."""
        return slice(self.n_births + 2, None)

    def ages_at(self, month: int) -> np.ndarray:
        """Ages of the birth cells in a month, youngest first; their birth months are constant."""
        return self.ages.first + (month - self.ages.first) % STEP + STEP * np.arange(self.n_births)

    def aged(self, state: np.ndarray, month: int) -> np.ndarray:
        """pairs x users: the previous month's sums on this month's cells.

        A new birth cell takes the sums of not_yet. The oldest cell merges into graduated by the maximum.
        """
        if (month - self.ages.first) % STEP != 0:
            return state
        number, last = self._number, self.n_births + 1
        before = np.maximum(self.pairs - 1, 0)
        before[self.pairs == last] = last
        moved = state[number[before[:, 0], before[:, 1]]]
        oldest = np.where(before == last, last - 1, before)
        known = number[oldest[:, 0], oldest[:, 1]]
        leaving = (known >= 0) & (oldest != before).any(axis=1)
        moved[leaving] = np.maximum(moved[leaving], state[known[leaving]])
        return moved

    @cached_property
    def _number(self) -> np.ndarray:
        """cells x cells: index of the pair, in either order; -1 where there is none."""
        number = np.full((self.n_births + 2,) * 2, -1)
        number[self.pairs[:, 0], self.pairs[:, 1]] = np.arange(len(self.pairs))
        return np.maximum(number, number.T)

    def merged(self, log_likelihood: np.ndarray, n_groups: np.ndarray, prior: np.ndarray, month: int) -> np.ndarray:
        """pairs x users: log-likelihood ratio of each user's groups under a pair against the average over the prior.

        log_likelihood: groups x bins, times the filter's tau, sorted by user; n_groups: per user, at least one; prior:
        shares of the bins.
        """
        ages = self.ages_at(month)
        table = np.zeros((self.n_births + 2, len(prior)))
        table[0, 0] = table[-1, -1] = 1
        table[1:-1] = self.ages.log_likelihood_at[ages - self.ages.first]
        by_groups = np.argsort(-n_groups, kind="stable")  # users with many groups first
        n_left = [np.count_nonzero(n_groups > n) for n in range(n_groups.max())]  # users with a 1st, 2nd, ... group
        first_groups = (np.cumsum(n_groups) - n_groups)[by_groups]
        scaled = SHARPNESS * log_likelihood[np.concatenate([first_groups[:left] + n for n, left in enumerate(n_left)])]
        peak = scaled.max(axis=1, keepdims=True)
        average = peak + np.log(np.exp(scaled - peak) @ prior)[:, None]
        likelihood = np.exp(np.minimum(scaled @ table.T - average, LIMIT)).T.astype(np.float32)
        half = np.ascontiguousarray((1 - FOR_NOBODY) / 2 * likelihood + np.float32(FOR_NOBODY / 2))
        user_sums, group_values = (
            np.empty((len(self.pairs), len(n_groups)), np.float32),
            np.empty(len(log_likelihood), np.float32),
        )
        for (younger, older), pair_sums in zip(self.pairs, user_sums, strict=True):  # one pair fits the CPU cache
            np.log(np.add(half[younger], half[older], out=group_values), out=group_values)
            begin = len(n_groups)
            for left in n_left[1:]:
                group_values[:left] += group_values[begin : begin + left]
                begin += left
            pair_sums[by_groups] = group_values[: len(n_groups)]
        return user_sums

    def log_prior(self, prior: np.ndarray, month: int) -> np.ndarray:
        """pairs x tenures: log-prior of one child, and of two independent children; each of the two parts sums to 1.

        prior: tenures x (not_yet, ages first..last, graduated), from birth_months.prior_by_tenure.
        """
        ages = self.ages_at(month)
        births = prior[:, 1 + ages - self.ages.first]
        older = prior[:, 2 + ages[-1] - self.ages.first :].sum(axis=1, keepdims=True)
        cells = np.concatenate([prior[:, :1], STEP * births, older], axis=1) + 1e-12
        cells /= cells.sum(axis=1, keepdims=True)
        two = cells[:, self.pairs[self.two, 0]] * cells[:, self.pairs[self.two, 1]]
        return np.log(np.concatenate([cells, two / two.sum(axis=1, keepdims=True)], axis=1)).T
