"""Grid of two children: pairs of birth months at a coarse step, and the arithmetic of log-likelihoods on them.

A group is what a user did in a month in one leaf category. It was done for one child, so its likelihood under a pair is
the mean over both; summing a month's evidence first, as for one child, would blur them. Part of the groups is for nobody
(gifts, bulk buys) and speaks of no birth month.

What is said of one pair lies together, for all users: arrays are pairs x users.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from life_stage.birth_months import Ages

STEP = 4  # months of birth that share a cell
MIN_GAP = 10  # months between births; twins behave as one child does
FOR_NOBODY = 0.25  # share of groups
SHARPNESS = 1.3  # of a group's evidence, against that of a whole month
LIMIT = 30.0  # of a group's log-likelihood


@dataclass(frozen=True)
class PairCells:
    """The cells of a birth month (not_yet, births in steps, graduated) and all admissible pairs of them.

    A pair of a cell with itself stands for one child; these come first. Months are numbered year * 12 + month - 1.
    """

    ages: Ages

    @cached_property
    def n_births(self) -> int:
        """Cells with a birth month: enough to reach past the last stage at every phase of the step."""
        return -(-(self.ages.stage_edges[-1] - self.ages.first) // STEP)

    @cached_property
    def pairs(self) -> np.ndarray:
        """(n_pairs, 2): numbers of the younger and the older cell; the outer cells go with all others."""
        n_cells = self.n_births + 2
        younger, older = np.triu_indices(n_cells)
        far_apart = (older - younger) * STEP >= MIN_GAP
        outer = (younger == 0) | (older == n_cells - 1)
        two = np.stack([younger, older], axis=1)[(far_apart | outer) & (younger != older)]
        return np.concatenate([np.arange(n_cells)[:, None].repeat(2, axis=1), two])

    @property
    def one(self) -> slice:
        """The pairs that stand for one child."""
        return slice(self.n_births + 2)

    @property
    def two(self) -> slice:
        """The pairs of two children."""
        return slice(self.n_births + 2, None)

    def ages_at(self, month: int) -> np.ndarray:
        """Ages of the birth cells in a month, youngest first; their birth months do not move."""
        return self.ages.first + (month - self.ages.first) % STEP + STEP * np.arange(self.n_births)

    def aged(self, state: np.ndarray, month: int) -> np.ndarray:
        """pairs x users: the sums of the month before, by the cells of this month.

        When a birth cell enters it takes the sums of not_yet, and the oldest goes into graduated, the likelier holds.
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
        """cells x cells: number of the pair, in either order; -1 where there is none."""
        number = np.full((self.n_births + 2,) * 2, -1)
        number[self.pairs[:, 0], self.pairs[:, 1]] = np.arange(len(self.pairs))
        return np.maximum(number, number.T)

    def merged(self, log_likelihood: np.ndarray, n_groups: np.ndarray, prior: np.ndarray, month: int) -> np.ndarray:
        """pairs x users: how much likelier each user's groups are under a pair than on average, as a logarithm.

        evidence: groups x bins, times the filter's tau, user by user; n_groups: of each user, at least one; prior: shares
        of the bins.
        """
        ages = self.ages_at(month)
        table = np.zeros((self.n_births + 2, len(prior)))
        table[0, 0] = table[-1, -1] = 1
        table[1:-1] = self.ages.log_likelihood_at[ages - self.ages.first]
        by_groups = np.argsort(-n_groups, kind="stable")  # users with many groups first
        n_left = [np.count_nonzero(n_groups > n) for n in range(n_groups.max())]  # who has a first unit, a second, ...
        first_groups = (np.cumsum(n_groups) - n_groups)[by_groups]
        scaled = SHARPNESS * log_likelihood[np.concatenate([first_groups[:left] + n for n, left in enumerate(n_left)])]
        peak = scaled.max(axis=1, keepdims=True)
        average = peak + np.log(np.exp(scaled - peak) @ prior)[:, None]
        likelihood = np.exp(np.minimum(scaled @ table.T - average, LIMIT)).T.astype(np.float32)
        half = np.ascontiguousarray((1 - FOR_NOBODY) / 2 * likelihood + np.float32(FOR_NOBODY / 2))
        of_users, of_groups = (
            np.empty((len(self.pairs), len(n_groups)), np.float32),
            np.empty(len(log_likelihood), np.float32),
        )
        for (younger, older), of_pair in zip(self.pairs, of_users, strict=True):  # one pair stays in the cache
            np.log(np.add(half[younger], half[older], out=of_groups), out=of_groups)
            begin = len(n_groups)
            for left in n_left[1:]:
                of_groups[:left] += of_groups[begin : begin + left]
                begin += left
            of_pair[by_groups] = of_groups[: len(n_groups)]
        return of_users

    def log_prior(self, prior: np.ndarray, month: int) -> np.ndarray:
        """pairs x tenures: of one child, and of two independent ones in whatever order; each group sums to 1.

        prior: tenures x (not_yet, ages first..last, graduated), as birth_months.prior_by_tenure gives it.
        """
        ages = self.ages_at(month)
        of_births = prior[:, 1 + ages - self.ages.first]
        older = prior[:, 2 + ages[-1] - self.ages.first :].sum(axis=1, keepdims=True)
        cells = np.concatenate([prior[:, :1], STEP * of_births, older], axis=1) + 1e-12
        cells /= cells.sum(axis=1, keepdims=True)
        two = cells[:, self.pairs[self.two, 0]] * cells[:, self.pairs[self.two, 1]]
        return np.log(np.concatenate([cells, two / two.sum(axis=1, keepdims=True)], axis=1)).T
