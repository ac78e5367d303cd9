"""Training examples as arrays: months of users with one registered child, and their observed features."""

from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from life_stage.filtering.birth_months import Ages, Months

PRIOR_HAZARD, PRIOR_MONTHS = 0.008, 200  # prior mean of the birth hazard, and its weight in months


@dataclass(frozen=True)
class Examples:
    """Months sorted by user and month, their features (months x vocabulary), and whether the user was active."""

    months: Months
    matrix: csr_matrix
    is_active: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "Examples":
        return Examples(self.months[chosen], self.matrix[chosen], self.is_active[chosen])

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.months.counts)

    def active(self, features: np.ndarray) -> "Examples":
        """The months with actions, with the marked features alone."""
        return Examples(
            self.months[self.is_active], self.matrix[self.is_active][:, features], self.is_active[self.is_active]
        )

    def in_bins(self, ages: Ages) -> tuple["Examples", np.ndarray]:
        """The months whose child was in an age bin, and the bin's index."""
        age_bin = ages.bin_of(self.months.age)
        return self[age_bin >= 0], age_bin[age_bin >= 0]

    def plausible(self, ages: Ages) -> "Examples":
        """Without the users whose child is in no age bin in any month: such birthdays are wrong."""
        return self[np.isin(self.months.user, self.in_bins(ages)[0].months.user)]


class TrainingData(NamedTuple):
    """Tables of labelled user-months: training_rows by row_no, columns of design_matrix, and the vocabulary by id."""

    rows: pd.DataFrame
    matrix: dict[str, np.ndarray]
    vocabulary: pd.DataFrame

    @classmethod
    def read(cls, rows: Any, matrix: Any, vocabulary: Any) -> "TrainingData":
        """The data of three relations."""
        return cls(rows.df(), matrix.fetchnumpy(), vocabulary.df())

    def in_order(self) -> "TrainingData":
        """Sorted by the numbers that the matrix refers to."""
        rows = self.rows.sort_values("row_no", ignore_index=True)
        return TrainingData(rows, self.matrix, self.vocabulary.sort_values("feature_id", ignore_index=True))

    def examples(self, through: date) -> "Examples":
        """All months as arrays; `through`: the newest month."""
        return examples_of(self.rows, self.matrix, len(self.vocabulary), through)


def examples_of(rows: pd.DataFrame, matrix: dict[str, np.ndarray], n_features: int, through: date) -> Examples:
    """Examples of training_rows, sorted by row_no, and the columns of design_matrix; `through`: the newest month."""
    month = pd.to_datetime(rows["month"])
    lag = (through.year - month.dt.year) * 12 + through.month - month.dt.month
    months = Months(
        *(column.to_numpy(int) for column in (rows["user_no"], lag, rows["age_months"], rows["tenure_months"]))
    )
    indices = (matrix["row_no"] - 1, matrix["feature_id"] - 1)
    features = csr_matrix((matrix["value"], indices), shape=(len(rows), n_features))
    return Examples(months, features, rows["is_active"].to_numpy(bool))


def initial_prior_of(months: Months, ages: Ages) -> np.ndarray:
    """Shares of the age bins in the users' first months: the filter's initial prior; outer bins take ages outside."""
    first = months.first_of_users
    age = months.age[first] - months.tenure[first]
    age_bin = np.where(age < ages.first, 0, np.where(age > ages.last, len(ages.bins) - 1, ages.bin_of(age)))
    counts = np.bincount(age_bin, minlength=len(ages.bins)) + 0.5
    return counts / counts.sum()


def hazard_of(months: Months, ages: Ages) -> float:
    """Birth hazard: monthly share of `not yet expecting` families that begin to expect."""
    first = months.first_of_users
    age = months.age[first] - months.tenure[first]
    waits = (ages.first - age)[age < ages.first]
    observed = (months.tenure[first] + months.lag[first])[age < ages.first]
    n_births, at_risk = (waits <= observed).sum(), np.minimum(waits, observed).sum()
    return float((n_births + PRIOR_HAZARD * PRIOR_MONTHS) / (at_risk + PRIOR_MONTHS))
