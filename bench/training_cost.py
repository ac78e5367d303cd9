"""Cost of training: one fit of 150,000 months x 4,000 features x 20 bins, and fine-tuning through the filter.

The months are sampled with replacement from simulated users; additional features are shuffled copies of existing ones.
python bench/training_cost.py
"""

import numpy as np
from held_out import TrainingData, training_data_of
from measuring import WORK, build, cpu, demo_source, keep, measured
from scipy.sparse import csr_matrix, hstack

from life_stage import regression, train_through_filter
from life_stage.birth_months import BirthMonths
from life_stage.examples import Examples, hazard_of, initial_prior_of
from life_stage.regularisation import ANCHOR_INVERSE_PENALTIES

N_ROWS, N_FEATURES = 150_000, 4_000


def enlarged(data: TrainingData) -> Examples:
    """N_ROWS active months of training users sampled with replacement, with N_FEATURES features."""
    random, active = np.random.default_rng(1), data.active("train")
    first, counts = active.months.first_of_users, active.months.counts
    sampled = random.integers(0, len(first), size=2 * N_ROWS // int(counts.mean()))
    sampled = sampled[: np.searchsorted(np.cumsum(counts[sampled]), N_ROWS) + 1]
    rows = np.concatenate([np.arange(first[user], first[user] + counts[user]) for user in sampled])
    months = active.months[rows]
    months.user[:] = np.repeat(np.arange(len(sampled)), counts[sampled])
    matrix = active.matrix[rows]
    while matrix.shape[1] < N_FEATURES:
        others = random.permutation(active.matrix.shape[1])[: min(active.matrix.shape[1], N_FEATURES - matrix.shape[1])]
        share = 0.1  # of the months: additional features are rarer
        shuffled = matrix[random.permutation(len(rows))][:, others].multiply(random.random((len(rows), 1)) < share)
        matrix = csr_matrix(hstack([matrix, shuffled]))
        matrix.eliminate_zeros()
    return Examples(months, matrix, np.ones(len(rows), bool))


def fit(examples: Examples, data: TrainingData) -> dict:
    """Figures of one regression."""
    in_bins, age_bin = examples.in_bins(data.ages)
    with cpu() as figures:
        fitted = regression.fit(in_bins.matrix, age_bin, len(data.ages.bins), 0.1)
    return figures | {"n_iterations": fitted.n_iterations}


def tune(examples: Examples, data: TrainingData) -> dict:
    """Figures of fine-tuning through the filter with the weakest penalty, which takes longest."""
    births = BirthMonths(
        data.ages,
        data.examples.months.lag.max() + 1,
        initial_prior_of(examples.months, data.ages),
        hazard_of(examples.months, data.ages),
    )
    in_bins, age_bin = examples.in_bins(data.ages)
    plain = regression.fit(in_bins.matrix, age_bin, len(data.ages.bins), 0.1)
    with cpu() as figures:
        tuned = train_through_filter.fine_tune(
            examples.matrix, examples.months, births, plain, max(ANCHOR_INVERSE_PENALTIES)
        )
    return figures | {"n_iterations": tuned.n_iterations}


def piece(name: str) -> dict:
    """Figures of one step on enlarged data, with the data's size."""
    data = training_data_of(WORK / "demo14.duckdb")
    examples = enlarged(data)
    figures = {"fit": fit, "tune": tune}[name](examples, data)
    return figures | {"shape": examples.matrix.shape, "n_cells": examples.matrix.nnz, "n_users": examples.n_users}


def main() -> None:
    """Measure and print."""
    build(demo_source("demo14", users=14_000, months=24, through="2017-02"), "demo14")
    found = {name: measured(piece, name) for name in ("fit", "tune")}
    keep("training_cost", found)
    for name, figures in found.items():
        rows, features = figures["shape"]
        print(
            f"{name:5} {rows:,} months of {figures['n_users']:,} users x {features:,} features, "
            f"{figures['n_cells'] / rows:.0f} of them in a month: "
            f"{figures['cpu_s']:.1f} CPU-s, {figures['n_iterations']} iterations, peak {figures['peak_mb']:,.0f} MiB"
        )


if __name__ == "__main__":
    main()
