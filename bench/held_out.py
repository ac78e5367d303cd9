"""Held-out evaluation for benchmarks: the training tables of a warehouse as arrays, and scores with intervals.

Training, validation and test users are disjoint; nothing is fitted on test users.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from life_stage.birth_months import Ages, BirthMonths, last_months
from life_stage.calibration import calibration_error
from life_stage.examples import Examples, examples_of
from life_stage.readout import Readouts, ReadoutWeights
from life_stage.regression import LogLikelihood
from life_stage.retraining import read_age_divisions
from life_stage.scoring import LAST_YEAR


@dataclass(frozen=True)
class TrainingData:
    """Training and evaluation data of a model; `this_month` marks the features of the month itself."""

    rows: pd.DataFrame
    matrix: dict[str, np.ndarray]
    vocabulary: pd.DataFrame
    ages: Ages
    through: date
    examples: Examples

    @property
    def split(self) -> np.ndarray:
        """train, validation or test, for every row."""
        return self.rows["split"].to_numpy()

    @property
    def this_month(self) -> np.ndarray:
        """True for the features of the log-likelihood."""
        return ~self.vocabulary["feature"].str.startswith(LAST_YEAR).to_numpy()

    def active(self, split: str) -> Examples:
        """The months with actions of the users of one split."""
        return self.examples[self.split == split].active(self.this_month)


def training_data_of(warehouse: Path) -> TrainingData:
    """The training tables of a warehouse."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        rows = connection.sql("from training_rows order by row_no").df()
        vocabulary = connection.sql("from training_vocabulary order by feature_id").df()
        matrix = connection.sql("from design_matrix").fetchnumpy()
        ages = read_age_divisions(connection.table("age_bins"), connection.table("stages"))
        ((through,),) = connection.sql("select max(month) from month_calendar where is_closed").fetchall()
    return TrainingData(rows, matrix, vocabulary, ages, through, examples_of(rows, matrix, len(vocabulary), through))


@dataclass(frozen=True)
class Scores:
    """Scores of a method per user-month: correctness, log-loss, the user's index, months before the newest month."""

    right: np.ndarray
    log_loss: np.ndarray
    user: np.ndarray
    lag: np.ndarray

    def newest(self) -> "Scores":
        """The scores of the newest month."""
        of_month = self.lag == 0
        return Scores(self.right[of_month], self.log_loss[of_month], self.user[of_month], self.lag[of_month])

    def text(self) -> str:
        """The means with 95 % intervals over users."""
        return (
            f"accuracy {interval(self.right * 100, self.user, 1)} %, log-loss {interval(self.log_loss, self.user, 3)}"
        )

    def against(self, other: "Scores") -> str:
        """The mean differences with 95 % intervals over users."""
        gain = interval((self.right * 1.0 - other.right) * 100, self.user, 1)
        return f"accuracy {gain} points, log-loss {interval(self.log_loss - other.log_loss, self.user, 3)}"


def evaluated(
    log_likelihood: LogLikelihood,
    births: BirthMonths,
    weights: ReadoutWeights,
    examples: Examples,
    kinds: np.ndarray,
    activity_table: np.ndarray,
) -> tuple[Scores, float]:
    """Scores of every month of the users from their first on, including inactive ones; and the calibration error."""
    months = last_months(examples.months, len(births.tables))
    readouts = Readouts.of(examples, log_likelihood.of(examples.matrix), months, births, kinds, activity_table).scored()
    predicted = readouts.probabilities(weights)
    probability = predicted[np.arange(len(predicted)), readouts.stage]
    scores = Scores(
        predicted.argmax(axis=1) == readouts.stage, -np.log(probability), readouts.months.user, readouts.months.lag
    )
    return scores, calibration_error(predicted, readouts.stage)


def interval(values: np.ndarray, user: np.ndarray, digits: int, n_samples: int = 1000) -> str:
    """The mean and the 95 % interval of a bootstrap over users."""
    sums, counts = np.bincount(user, weights=values), np.bincount(user)
    sums, counts = sums[counts > 0], counts[counts > 0]
    sampled = np.random.default_rng(0).integers(0, len(sums), size=(n_samples, len(sums)))
    low, high = np.quantile(sums[sampled].sum(axis=1) / counts[sampled].sum(axis=1), [0.025, 0.975])
    return f"{values.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def error_of_mean(values: np.ndarray, user: np.ndarray) -> float:
    """Standard error of the mean, clustered by user."""
    sums, counts = np.bincount(user, weights=values), np.bincount(user)
    residual = (sums - values.mean() * counts)[counts > 0]
    return float(np.sqrt((residual**2).sum() * len(residual) / max(len(residual) - 1, 1)) / len(values))
