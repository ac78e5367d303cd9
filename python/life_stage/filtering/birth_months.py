"""Birth-month filter on arrays, for training: the same arithmetic as the SQL in models/life_stage/filtering.

A child's birth month is constant, so the log-likelihoods of a user's months add up per birth month. A cell is a grid
point of the birth month, given as the age in the newest month. The first cell is `not yet expecting`, the last
`graduated`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Ages:
    """Bins and stages of a child's age in completed months, in age order, each with one edge more than names.

    The first and the last bin lie outside every stage.
    """

    bins: tuple[str, ...]
    bin_edges: tuple[int, ...]
    stages: tuple[str, ...]
    stage_edges: tuple[int, ...]

    @property
    def first(self) -> int:
        """The youngest age with a cell of its own."""
        return self.stage_edges[0]

    @property
    def last(self) -> int:
        """The oldest age with a cell of its own."""
        return self.bin_edges[-1] - 1

    @cached_property
    def log_likelihood_at(self) -> np.ndarray:
        """Interpolation matrix from the log-likelihood of the bins (columns) to that of the ages first..last (rows).

        Linear between the centres of adjacent bins, constant beyond the outer centres.
        """
        centres = [(low + high - 1) / 2 for low, high in zip(self.bin_edges, self.bin_edges[1:], strict=False)]
        ages = np.arange(self.first, self.last + 1)
        return np.stack([np.interp(ages, centres, unit) for unit in np.eye(len(centres))], axis=1)

    def bin_of(self, ages: np.ndarray) -> np.ndarray:
        """Index of each age's bin; -1 outside all bins."""
        found = np.searchsorted(self.bin_edges, ages, side="right") - 1
        return np.where(found < len(self.bins), found, -1)

    def stage_of(self, ages: np.ndarray) -> np.ndarray:
        """Index of each age's stage; -1 outside all stages."""
        found = np.searchsorted(self.stage_edges, ages, side="right") - 1
        return np.where(found < len(self.stages), found, -1)


@dataclass(frozen=True)
class Months:
    """Months of users with one child, sorted by user and month.

    lag: months before the newest month of all; age: of the child; tenure: months since the user's first one.
    """

    user: np.ndarray
    lag: np.ndarray
    age: np.ndarray
    tenure: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, chosen: np.ndarray) -> "Months":
        return Months(self.user[chosen], self.lag[chosen], self.age[chosen], self.tenure[chosen])

    @cached_property
    def first_of_users(self) -> np.ndarray:
        """Index of each user's first month."""
        return np.flatnonzero(np.append(len(self) > 0, self.user[1:] != self.user[:-1]))

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of months of each user."""
        return np.diff(np.append(self.first_of_users, len(self)))

    def user_means(self, values: np.ndarray) -> np.ndarray:
        """Mean of the months' values for each user."""
        return np.add.reduceat(values, self.first_of_users) / self.counts


class BirthMonths:
    """Grid of birth months for a calendar of n_months, with the prior and the sums of log-likelihoods on it.

    initial_prior: shares of the age bins in users' first months; hazard: monthly share of `not yet expecting` families
    that begin to expect.
    """

    def __init__(self, ages: Ages, n_months: int, initial_prior: np.ndarray, hazard: float) -> None:
        self.ages, self.initial_prior, self.hazard = ages, initial_prior, hazard
        self.age_now = np.arange(ages.first, ages.last + n_months)
        self.n_cells = len(self.age_now) + 2
        self.tables = [self._table(lag) for lag in range(n_months)]

    def _table(self, lag: int) -> np.ndarray:
        """cells x bins: maps the log-likelihood of a month `lag` before the newest to the birth months."""
        then = self.age_now - lag
        table = np.zeros((self.n_cells, len(self.ages.bins)))
        inside = (then >= self.ages.first) & (then <= self.ages.last)
        table[1:-1][inside] = self.ages.log_likelihood_at[then[inside] - self.ages.first]
        table[:-1][np.append(True, then < self.ages.first), 0] = 1
        table[1:][np.append(then > self.ages.last, True), -1] = 1
        return table

    def cell_of(self, months: Months) -> np.ndarray:
        """The cell of the child's birth month, for each month."""
        cell = months.age + months.lag - self.ages.first + 1
        return np.where(months.age < self.ages.first, 0, np.where(months.age > self.ages.last, self.n_cells - 1, cell))

    def log_prior(self, readouts: Months) -> np.ndarray:
        """readouts x cells: the log-prior; -inf for birth months that an outer cell covers."""
        n_tenures = int(readouts.tenure.max(initial=0)) + 1
        by_tenure = np.log(prior_by_tenure(self.ages, self.initial_prior, self.hazard, n_tenures))
        column = self.age_now[None, :] - readouts.lag[:, None] - self.ages.first + 1
        inside = (column >= 1) & (column < by_tenure.shape[1] - 1)
        chosen = by_tenure[readouts.tenure[:, None], np.where(inside, column, 0)]
        prior = np.full((len(readouts), self.n_cells), -np.inf)
        prior[:, 1:-1] = np.where(inside, chosen, -np.inf)
        prior[:, [0, -1]] = by_tenure[readouts.tenure][:, [0, -1]]
        return prior

    def by_age(self, cells: np.ndarray, readouts: Months) -> np.ndarray:
        """readouts x (not_yet, ages, graduated) from readouts x cells: the cells by the age at each readout."""
        columns = 1 + readouts.lag[:, None] + np.arange(self.ages.last - self.ages.first + 1)
        return np.concatenate([cells[:, :1], np.take_along_axis(cells, columns, axis=1), cells[:, -1:]], axis=1)

    def running_sum(self, log_likelihood: np.ndarray, rows: Months, readouts: Months) -> np.ndarray:
        """readouts x cells: log-likelihood (rows x bins) summed over all months up to each readout."""
        into = readout_of(rows, readouts)
        total = np.zeros((len(readouts), self.n_cells), log_likelihood.dtype)
        for lag, chosen in by_lag(rows, into):
            # one row per user and month, so no index occurs twice
            total[into[chosen]] += log_likelihood[chosen] @ self.tables[lag].T.astype(log_likelihood.dtype)
        for before, after in steps(readouts):
            total[after] += total[before]
        return total

    def running_sum_of_classes(
        self, log_likelihood: np.ndarray, row_class: np.ndarray, rows: Months, readouts: Months
    ) -> np.ndarray:
        """readouts x cells: as running_sum, for rows whose log-likelihood is that of a class (classes x bins).

        Summed in multiples of 1/1000 per cell, as in the SQL.
        """
        into = readout_of(rows, readouts)
        total = np.zeros((len(readouts), self.n_cells))
        for lag, chosen in by_lag(rows, into):
            of_cells = np.floor(1000 * (log_likelihood @ self.tables[lag].T) + 0.5)
            total[into[chosen]] += of_cells[row_class[chosen]]
        for before, after in steps(readouts):
            total[after] += total[before]
        return total / 1000

    def gradient_of_log_likelihood(self, sum_gradient: np.ndarray, rows: Months, readouts: Months) -> np.ndarray:
        """rows x bins: backward pass of running_sum; sum_gradient (readouts x cells) is changed in place."""
        into = readout_of(rows, readouts)
        for before, after in reversed(list(steps(readouts))):
            sum_gradient[before] += sum_gradient[after]
        gradient = np.zeros((len(rows), len(self.ages.bins)), sum_gradient.dtype)
        for lag, chosen in by_lag(rows, into):
            gradient[chosen] = sum_gradient[into[chosen]] @ self.tables[lag].astype(sum_gradient.dtype)
        return gradient


def prior_by_tenure(ages: Ages, initial_prior: np.ndarray, hazard: float, n_tenures: int) -> np.ndarray:
    """tenures x (not_yet, ages, graduated): the initial prior, shifted by one month of age per month of tenure."""
    width = ages.last - ages.first + 1
    shares = np.zeros((n_tenures, width + 2))
    for share, low, high in zip(initial_prior, ages.bin_edges, ages.bin_edges[1:], strict=False):
        if high <= ages.first:
            shares[0, 0] += share
        else:
            shares[0, low - ages.first + 1 : high - ages.first + 1] = share / (high - low)
    shares[0, -1] = shares[0, -2]
    for tenure in range(1, n_tenures):
        shares[tenure, 2:-1] = shares[tenure - 1, 1:-2]
        shares[tenure, -1] = shares[tenure - 1, -1] + shares[tenure - 1, -2]
        shares[tenure, 1] = shares[tenure - 1, 0] * hazard
        shares[tenure, 0] = shares[tenure - 1, 0] * (1 - hazard)
    return shares / shares.sum(axis=1, keepdims=True)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Each row as probabilities."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def readout_of(rows: Months, readouts: Months) -> np.ndarray:
    """For each row the user's first readout in its month or later; -1 where there is none."""
    step = 1 + max(rows.lag.max(initial=0), readouts.lag.max(initial=0))
    key = readouts.user * step - readouts.lag
    found = np.searchsorted(key, rows.user * step - rows.lag)
    found = np.where(found < len(key), found, -1)
    return np.where((found >= 0) & (readouts.user[found] == rows.user), found, -1)


def by_lag(rows: Months, into: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The rows that belong to a readout, by month."""
    return [(lag, np.flatnonzero((rows.lag == lag) & (into >= 0))) for lag in np.unique(rows.lag)]


def steps(readouts: Months) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of consecutive readouts of the same users, first readouts first."""
    rank = np.arange(len(readouts)) - np.repeat(readouts.first_of_users, readouts.counts)
    return [(after - 1, after) for after in (np.flatnonzero(rank == n) for n in range(1, rank.max(initial=0) + 1))]


def last_months(rows: Months, n_months: int) -> Months:
    """The newest n_months of every user in rows, including inactive ones, from the user's first month on."""
    newest = rows.first_of_users + rows.counts - 1
    lags = np.arange(n_months)[::-1]
    age = (rows.age[newest] + rows.lag[newest])[:, None] - lags
    tenure = (rows.tenure[newest] + rows.lag[newest])[:, None] - lags
    months = Months(np.repeat(rows.user[newest], n_months), np.tile(lags, len(newest)), age.ravel(), tenure.ravel())
    return months[months.tenure >= 0]


def months_so_far(rows: Months, readouts: Months) -> np.ndarray:
    """Number of the user's rows up to each readout."""
    step = 1 + max(rows.lag.max(initial=0), readouts.lag.max(initial=0))
    key = rows.user * step - rows.lag
    before = np.searchsorted(key, readouts.user * step - step + 1)
    return np.searchsorted(key, readouts.user * step - readouts.lag, side="right") - before
