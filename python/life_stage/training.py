"""Training of a model in three steps, and its rows in stage_coefficients. Models are tables, never pickles.

1. Two multinomial regressions (regression.py): the stateless baseline, and the log-likelihood of a month.
2. End-to-end fine-tuning of the log-likelihood through the filter (train_through_filter.py).
3. Calibration of the posterior readout (calibration.py).
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np
import pandas as pd

from life_stage import calibration, regression, regularisation, train_through_filter
from life_stage.birth_months import Ages, BirthMonths, last_months
from life_stage.calibration import CalibrationObjective
from life_stage.examples import Examples, examples_of, hazard_of, initial_prior_of
from life_stage.model_rows import COLUMNS, content_digest, long_rows, named_values, regression_rows
from life_stage.regression import LogLikelihood, NotTrainedError
from life_stage.scoring import LAST_YEAR

MIN_VALIDATION_USERS = 100
VALIDATION_MONTHS = 6


@dataclass(frozen=True)
class Options:
    """Values of the project's vars, and the penalties of the previous model (None: chosen by cross-validation)."""

    min_training_users: int
    filter_tuning: bool = True
    inverse_penalty: float | None = None
    anchor_inverse_penalty: float | None = None


def train(
    rows: pd.DataFrame,
    matrix: dict[str, np.ndarray],
    vocabulary: pd.DataFrame,
    ages: Ages,
    through: date,
    options: Options,
    log_progress: Callable[[str], None] = lambda text: None,
) -> pd.DataFrame:
    """Train one model; returns its rows with COLUMNS. Raises NotTrainedError when the training data is too small.

    rows: training_rows; matrix: columns of design_matrix; vocabulary: training_vocabulary; log_progress: a line a step.
    """
    began = time.monotonic()
    rows = rows.sort_values("row_no", ignore_index=True)
    vocabulary = vocabulary.sort_values("feature_id", ignore_index=True)
    examples = examples_of(rows, matrix, len(vocabulary), through)
    split, of_this_month = rows["split"].to_numpy(), ~vocabulary["feature"].str.startswith(LAST_YEAR).to_numpy()
    training = examples[split == "train"].plausible(ages)
    active = training.active(of_this_month)
    if active.n_users < options.min_training_users:
        raise NotTrainedError(f"{active.n_users} training users, min_training_users is {options.min_training_users}")

    def log_step(text: str) -> None:
        log_progress(f"{text}, {time.monotonic() - began:.0f} s")

    births = BirthMonths(
        ages, examples.months.lag.max() + 1, initial_prior_of(active.months, ages), hazard_of(active.months, ages)
    )
    log_step(f"training on {len(active.months):,} months of {active.n_users:,} users, {of_this_month.sum():,} features")
    c = options.inverse_penalty or regularisation.choose_inverse_penalty(active, ages)
    plain = fit(active, ages, c)
    log_step(f"fitted the log-likelihood regression (C {c:g})")
    memory_less = fit(training, ages, c)
    log_step("fitted the stateless baseline")
    log_likelihood, anchor_inverse_penalty = tune_through_filter(active, births, plain, c, options)
    log_step(f"fine-tuned through the filter (anchor_inverse_penalty {anchor_inverse_penalty:.3g})")
    readout, evaluated = calibrate(examples[split == "validation"].active(of_this_month), births, log_likelihood)
    log_step(f"calibrated the readout (tau {readout.tau:g}, gamma {readout.gamma:g}, delta {readout.delta:g})")

    settings = {**asdict(readout), "birth_hazard": births.hazard, "inverse_penalty": c}
    if options.filter_tuning:  # later models inherit the penalty only if it was chosen here
        settings["anchor_inverse_penalty"] = anchor_inverse_penalty
    diagnostics = {
        "n_training_users": active.n_users,
        "regression_iterations": plain.n_iterations,
        "memory_less_iterations": memory_less.n_iterations,
        "filter_iterations": log_likelihood.n_iterations if anchor_inverse_penalty else 0,
        **evaluated,
    }
    is_used = split != "test"
    used = examples[is_used].matrix
    row_values = rows[is_used].drop(columns=["user_id", "user_no", "row_no", "registered_at"], errors="ignore")
    data_digest = content_digest(row_values, vocabulary, used.data, used.indices, used.indptr)
    frame = pd.concat(
        [
            regression_rows("log_likelihood", log_likelihood, vocabulary[of_this_month], ages.bins),
            regression_rows("memory_less", memory_less, vocabulary, ages.bins),
            long_rows("initial_prior", [""], ages.bins, births.initial_prior[None, :]).assign(
                model_name="log_likelihood"
            ),
            named_values("setting", settings),
            named_values("diagnostic", diagnostics),
            named_values("data", {data_digest: len(active.months)}),
        ],
        ignore_index=True,
    )
    if not np.isfinite(frame["value"]).all():  # models are permanent, and the posterior carries their errors on
        raise NotTrainedError("a weight or a setting is not a finite number")
    frame = frame.assign(trained_through=through, model_version=f"{through:%Y-%m}-{content_digest(frame)[:8]}")
    return frame[COLUMNS]


def fit(examples: Examples, ages: Ages, inverse_penalty: float) -> LogLikelihood:
    """Step 1: the regression on months whose child is in an age bin."""
    in_bins, age_bin = examples.in_bins(ages)
    return regression.fit(in_bins.matrix, age_bin, len(ages.bins), inverse_penalty)


def tune_through_filter(
    active: Examples, births: BirthMonths, plain: LogLikelihood, inverse_penalty: float, options: Options
) -> tuple[LogLikelihood, float]:
    """Step 2: the fine-tuned log-likelihood and its anchor_inverse_penalty.

    The regression itself and 0 where fine-tuning is off or does not reduce the log-loss.
    """
    anchor_inverse_penalty = options.anchor_inverse_penalty if options.filter_tuning else 0.0
    if anchor_inverse_penalty is None:
        anchor_inverse_penalty = regularisation.choose_anchor_inverse_penalty(active, births, inverse_penalty)
    if anchor_inverse_penalty == 0:
        return plain, 0.0
    return train_through_filter.fine_tune(
        active.matrix, active.months, births, plain, anchor_inverse_penalty
    ), anchor_inverse_penalty


def calibrate(
    validation: Examples, births: BirthMonths, log_likelihood: LogLikelihood
) -> tuple[calibration.ReadoutSettings, dict[str, float]]:
    """Step 3: the readout settings, and their diagnostics on the newest months of validation users."""
    readouts = last_months(validation.months, VALIDATION_MONTHS)
    n_users = len(np.unique(readouts.user[births.ages.stage_of(readouts.age) >= 0]))
    if n_users < MIN_VALIDATION_USERS:
        return calibration.ReadoutSettings(), {"n_validation_users": 0}
    objective = CalibrationObjective(validation.matrix, validation.months, readouts, births, log_likelihood)
    best = objective.best()
    return best, {
        "n_validation_users": n_users,
        "log_loss_before": objective.log_loss(calibration.UNCALIBRATED),
        "log_loss_after": objective.log_loss(best),
        "calibration_error_before": objective.calibration_error(calibration.UNCALIBRATED),
        "calibration_error_after": objective.calibration_error(best),
    }
