"""Arrays of a pass over batches of users (filter_pass.py): months, input rows, and sums on the grid of birth months.

Users lie along the last axis, so that a step of the arithmetic is one NumPy call over contiguous values.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from life_stage.filtering.birth_months import Ages


class Month(NamedTuple):
    """A month of the pass. number: months since January 1970; is_stored: whether its state is kept."""

    number: int
    model_version: str
    is_published: bool
    is_stored: bool


def dates_of(months: np.ndarray) -> np.ndarray:
    """The first days of months given by number."""
    return months.astype("datetime64[M]").astype("datetime64[D]")


def numbers_of(dates: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """The numbers of the months of dates."""
    return dates.to_numpy(zero_copy_only=False).astype("datetime64[M]").astype(int)


def point_names(ages: Ages) -> list[str]:
    """Column suffixes of the grid points in age order, as in the macro cells()."""
    inner = [f"m{-age}" if age < 0 else str(age) for age in range(ages.first, ages.last + 1)]
    return ["not_yet", *inner, "graduated"]


def matrix_of(table: pa.Table, columns: Iterable[str]) -> np.ndarray:
    """columns x rows."""
    return np.stack([table[name].to_numpy() for name in columns])


def at_users(values: np.ndarray, user: np.ndarray, n_users: int, fill: float = 0) -> np.ndarray:
    """... x users from ... x rows, `user` being the index of each row's user; `fill` for users without a row."""
    found = np.full((*values.shape[:-1], n_users), fill, values.dtype)
    found[..., user] = values
    return found


def table_of(columns: dict[str, np.ndarray | pa.Array], is_row: np.ndarray) -> pa.Table:
    """A table of the chosen users; NaN and NaT become null."""
    rows = np.flatnonzero(is_row)
    return pa.table(
        {
            name: values.take(rows) if isinstance(values, pa.Array) else pa.array(values[rows], from_pandas=True)
            for name, values in columns.items()
        }
    )


def by_month(rows: pa.Table, users: pa.Array, months: list[Month], columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The rows as arrays: values, months x columns x users, 0 where inactive; and activity, months x users."""
    user = pc.index_in(rows["user_id"], value_set=users).to_numpy()
    month = np.searchsorted([month.number for month in months], numbers_of(rows["month"]))
    values = np.zeros((len(months), len(columns), len(users)))
    values[month, :, user] = matrix_of(rows, columns).T
    is_active = np.zeros((len(months), len(users)), bool)
    is_active[month, user] = True
    return values, is_active


@dataclass(frozen=True)
class Interpolation:
    """Log-likelihood of each grid point, between the centres of the two adjacent bins; same as in the SQL, bit by bit.

    younger, older: index of the bins; weight: of the older one; one each per grid point.
    """

    younger: np.ndarray
    older: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, ages: Ages) -> "Interpolation":
        """The interpolation between the bins of a division of age."""
        edges, at = np.array(ages.bin_edges), np.arange(ages.first, ages.last + 1)
        centres = (edges[:-1] + edges[1:] - 1) / 2
        older = np.minimum(np.searchsorted(centres, at), len(centres) - 1)
        is_between = (older > 0) & (at < centres[older])
        younger = np.where(is_between, older - 1, older)
        width = np.where(is_between, centres[older] - centres[younger], 1)
        weight = np.where(is_between, (at - centres[younger]) / width, 0.0)
        last = len(centres) - 1
        return cls(np.r_[0, younger, last], np.r_[0, older, last], np.r_[0, weight, 0][:, None])

    def __call__(self, log_likelihood: np.ndarray) -> np.ndarray:
        """Grid points x users, from bins x users."""
        found = log_likelihood[self.younger]
        found *= 1 - self.weight
        others = log_likelihood[self.older]
        others *= self.weight
        found += others
        return found


class Grid:
    """Sums of log-likelihoods of users at the grid points: not_yet, one per age, graduated.

    A month of age moves the points by one row of a buffer, so that no sum is copied.
    """

    def __init__(self, start: np.ndarray, n_months: int) -> None:
        """start: grid points x users; n_months: how often the users will age."""
        self.n_points, self.first = len(start), n_months
        self.buffer = np.concatenate([np.zeros((n_months, start.shape[1]), start.dtype), start])

    @property
    def points(self) -> np.ndarray:
        """The sums, a view that may be changed: grid points x users."""
        return self.buffer[self.first : self.first + self.n_points]

    def age(self) -> None:
        """Equation 1: a new grid point starts with the sum of not_yet; the oldest joins graduated if it is larger."""
        oldest, graduated = self.points[-2:]
        np.maximum(oldest, graduated, out=oldest)
        self.first -= 1
        self.points[0] = self.points[1]
