"""Training of a model in three steps, and its rows in stage_coefficients. Models are tables, never pickles.

1. Two multinomial regressions (regression.py): the stateless baseline, and the log-likelihood of a month.
2. End-to-end fine-tuning of the log-likelihood through the filter (train_through_filter.py).
3. Calibration of the posterior readout (calibration.py), on users who trained no part of the log-likelihood.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd

from life_stage.filtering.birth_months import Ages, BirthMonths, last_months
from life_stage.filtering.scoring import LAST_YEAR
from life_stage.readout import activity, calibration
from life_stage.readout.readout import Readouts, ReadoutSettings, ReadoutWeights, day_kinds
from life_stage.training import regression, regularisation, train_through_filter
from life_stage.training.examples import Examples, TrainingData, hazard_of, initial_prior_of
from life_stage.training.model_rows import (
    COLUMNS,
    content_digest,
    long_rows,
    named_values,
    read_log_likelihood,
    readout_rows,
    regression_rows,
)
from life_stage.training.regression import LogLikelihood, NotTrainedError
from life_stage.training.regularisation import N_FOLDS

MIN_VALIDATION_USERS = 100  # below: the default readout
MIN_READOUT_USERS = 300  # below: the plain readout
READOUT_USERS = 4000  # more do not improve the readout
GRID_USERS = 1500
READOUT_MONTHS = 8  # readouts per user, the newest


@dataclass(frozen=True)
class Options:
    """Values of the project's vars, and the penalties of the previous model (None: chosen by cross-validation)."""

    min_users: int
    fine_tuning: bool = True
    inverse_penalty: float | None = None
    anchor_inverse_penalty: float | None = None


def train(
    data: TrainingData,
    ages: Ages,
    through: date,
    options: Options,
    log_progress: Callable[[str], None] = lambda text: None,
    previous: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Train one model; returns its rows with COLUMNS. Raises NotTrainedError when the training data is too small.

    log_progress: a line a step; previous: rows of the model before, whose weights are the initial ones.
    """
    began = time.monotonic()
    data = data.in_order()
    rows, _, vocabulary = data
    examples = data.examples(through)
    split, of_this_month = rows["split"].to_numpy(), ~vocabulary["feature"].str.startswith(LAST_YEAR).to_numpy()
    training = examples[split == "train"].plausible(ages)
    active = training.active(of_this_month)
    if active.n_users < options.min_users:
        raise NotTrainedError(f"{active.n_users} training users, training_min_users is {options.min_users}")

    def log_step(text: str) -> None:
        log_progress(f"{text}, {time.monotonic() - began:.0f} s")

    births = BirthMonths(
        ages, examples.months.lag.max() + 1, initial_prior_of(active.months, ages), hazard_of(active.months, ages)
    )
    log_step(f"training on {len(active.months):,} months of {active.n_users:,} users, {of_this_month.sum():,} features")
    c = options.inverse_penalty or regularisation.choose_inverse_penalty(active, ages)
    last = None
    if previous is not None:
        last = read_log_likelihood(previous, "log_likelihood", vocabulary[of_this_month], ages)
    plain = fit(active, ages, c, last)
    log_step(f"fitted the log-likelihood regression (C {c:g})")
    memory_less = fit(training, ages, c, plain.among(of_this_month))
    log_step("fitted the stateless baseline")
    log_likelihood, anchor_inverse_penalty = tune_through_filter(active, births, plain, c, options)
    log_step(f"fine-tuned through the filter (anchor_inverse_penalty {anchor_inverse_penalty:.3g})")
    features = list(vocabulary.loc[of_this_month, "feature"])
    held_out = [(examples[split == "validation"].active(of_this_month), log_likelihood)]
    held_out += cross_fitted(active, births, c, anchor_inverse_penalty, READOUT_USERS - held_out[0][0].n_users)
    log_step(f"scored {sum(of.n_users for of, _ in held_out):,} users for the readout")
    table = activity.fit(activity.activity_of(active.months, len(births.tables)), ages)
    readout = calibrate(held_out, births, day_kinds(features, log_likelihood.weights), table)
    of_readout = asdict(readout.settings)
    log_step(f"calibrated the readout ({', '.join(f'{name} {value:g}' for name, value in of_readout.items())})")

    settings = {**of_readout, "birth_hazard": births.hazard, "inverse_penalty": c}
    if options.fine_tuning:  # later models inherit the penalty only if it was chosen here
        settings["anchor_inverse_penalty"] = anchor_inverse_penalty
    n_age_word_users = rows.loc[rows["label"] == "age_words", "user_no"].nunique()
    diagnostics = {
        "n_training_users": active.n_users,
        "regression_iterations": plain.n_iterations,
        "memory_less_iterations": memory_less.n_iterations,
        "filter_iterations": log_likelihood.n_iterations if anchor_inverse_penalty else 0,
        **readout.diagnostics,
        **({"n_age_word_users": n_age_word_users} if n_age_word_users else {}),
    }
    is_used = split != "test"
    used = examples[is_used].matrix
    row_values = rows[is_used].drop(columns=["user_id", "user_no", "row_no", "registered_at", "label"], errors="ignore")
    data_digest = content_digest(row_values, vocabulary, used.data, used.indices, used.indptr)
    frame = pd.concat(
        [
            regression_rows("log_likelihood", log_likelihood, vocabulary[of_this_month], ages.bins),
            regression_rows("memory_less", memory_less, vocabulary, ages.bins),
            long_rows("initial_prior", [""], ages.bins, births.initial_prior[None, :]).assign(
                model_name="log_likelihood"
            ),
            readout_rows(readout.weights, readout.interval_levels, table, ages),
            named_values("setting", settings),
            named_values("diagnostic", diagnostics),
            named_values("data", {data_digest: len(active.months)}),
        ],
        ignore_index=True,
    )
    if not np.isfinite(frame["value"]).all():  # models are permanent, and the posterior carries their errors on
        raise NotTrainedError("a weight or a setting is not a finite number")
    prefix = "age-words-" * bool(n_age_word_users)  # readers see it in every row of a stage
    frame = frame.assign(trained_through=through, model_version=f"{prefix}{through:%Y-%m}-{content_digest(frame)[:8]}")
    return frame[COLUMNS]


def fit(
    examples: Examples, ages: Ages, inverse_penalty: float, search_from: LogLikelihood | None = None
) -> LogLikelihood:
    """Step 1: the regression on months whose child is in an age bin."""
    in_bins, age_bin = examples.in_bins(ages)
    return regression.fit(in_bins.matrix, age_bin, len(ages.bins), inverse_penalty, search_from)


def tune_through_filter(
    active: Examples, births: BirthMonths, plain: LogLikelihood, inverse_penalty: float, options: Options
) -> tuple[LogLikelihood, float]:
    """Step 2: the fine-tuned log-likelihood and its anchor_inverse_penalty.

    The regression itself and 0 where fine-tuning is off or does not reduce the log-loss.
    """
    anchor_inverse_penalty = options.anchor_inverse_penalty if options.fine_tuning else 0.0
    if anchor_inverse_penalty is None:
        anchor_inverse_penalty = regularisation.choose_anchor_inverse_penalty(active, births, inverse_penalty)
    if anchor_inverse_penalty == 0:
        return plain, 0.0
    return train_through_filter.fine_tune(
        active.matrix, active.months, births, plain, anchor_inverse_penalty
    ), anchor_inverse_penalty


def cross_fitted(
    active: Examples, births: BirthMonths, inverse_penalty: float, anchor_inverse_penalty: float, n_users: int
) -> Iterator[tuple[Examples, LogLikelihood]]:
    """Parts of the training users, each with a log-likelihood trained on all others, until n_users are reached."""
    fold = np.repeat(np.random.default_rng(0).permutation(active.n_users) % N_FOLDS, active.months.counts)
    options = Options(0, anchor_inverse_penalty=anchor_inverse_penalty)
    for held_out in range(N_FOLDS):
        if n_users <= 0:
            return
        training = active[fold != held_out]
        try:
            plain = fit(training, births.ages, inverse_penalty)
        except NotTrainedError:
            return
        part = active[fold == held_out]
        n_users -= part.n_users
        yield part, tune_through_filter(training, births, plain, inverse_penalty, options)[0]


def plain_readout(validation: Examples, births: BirthMonths, log_likelihood: LogLikelihood) -> ReadoutSettings:
    """The plain readout of another log-likelihood, calibrated on validation users."""
    months = last_months(validation.months, READOUT_MONTHS)
    readouts = Readouts.plain(validation, log_likelihood.of(validation.matrix), months, births).scored()
    return calibrate_settings(readouts)


def calibrate_settings(readouts: Readouts) -> ReadoutSettings:
    """The best plain readout; the default with too few users."""
    if len(readouts.months.counts) < MIN_VALIDATION_USERS:
        return ReadoutSettings()
    return calibration.best_settings(readouts.of_users(GRID_USERS))


class Calibrated(NamedTuple):
    """The plain readout; with enough users the weights that extend it (else None) and the levels of the interval."""

    settings: ReadoutSettings
    diagnostics: dict[str, float]
    weights: ReadoutWeights | None = None
    interval_levels: np.ndarray | None = None


def calibrate(
    held_out: list[tuple[Examples, LogLikelihood]], births: BirthMonths, kinds: np.ndarray, activity_table: np.ndarray
) -> Calibrated:
    """Step 3: the readout and its diagnostics, on the newest months of users with a log-likelihood not trained on them.

    held_out: the validation users come first.
    """
    parts = [
        Readouts.of(
            of, log_likelihood.of(of.matrix), last_months(of.months, READOUT_MONTHS), births, kinds, activity_table
        ).scored()
        for of, log_likelihood in held_out
        if of.n_users
    ]
    n_users = sum(len(part.months.counts) for part in parts)
    n_validation_users = len(parts[0].months.counts) if held_out[0][0].n_users else 0
    if n_users < MIN_VALIDATION_USERS:
        return Calibrated(ReadoutSettings(), {"n_validation_users": 0})
    readouts = Readouts.joined(parts).of_users(READOUT_USERS)
    settings = calibrate_settings(readouts)
    noise = calibration.noise_of(readouts, settings)
    n_bins = len(births.ages.bins)
    weights = calibration.fit(readouts, settings, noise) if n_users >= MIN_READOUT_USERS else None
    levels = weights and calibration.interval_levels(readouts, weights)
    losses = {}
    for name, used in {
        "before": ReadoutWeights.plain(calibration.UNCALIBRATED, n_bins),
        "after": weights or ReadoutWeights.plain(settings, n_bins),
    }.items():
        probability = readouts.probabilities(used)
        losses[f"log_loss_{name}"] = calibration.log_loss(probability, readouts)
        losses[f"calibration_error_{name}"] = calibration.calibration_error(probability, readouts.stage)
    diagnostics = {"n_validation_users": n_validation_users, "n_readout_users": len(readouts.months.counts)}
    return Calibrated(settings, {**diagnostics, "label_noise": noise, **losses}, weights, levels)
