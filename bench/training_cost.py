"""Cost of training: one fit of 150,000 months x 4,000 features x 20 bins, and fine-tuning through the filter.

The months are those of simulated users, drawn again until there are enough, with further features that are others
shuffled. python bench/training_cost.py
"""

import numpy as np
from held_out import Learning, learning_of
from measuring import WORK, build, cpu, demo_source, keep, measured
from scipy.sparse import csr_matrix, hstack

from life_stage import regression, train_through_filter
from life_stage.birth_months import BirthMonths
from life_stage.examples import Examples, hazard_of, initial_prior_of
from life_stage.regularisation import ANCHOR_INVERSE_PENALTIES

N_ROWS, N_FEATURES = 150_000, 4_000


def enlarged(learning: Learning) -> Examples:
    """Active months of training users, drawn with replacement and renumbered, with as many features as asked for."""
    random, active = np.random.default_rng(1), learning.active("train")
    first, counts = active.months.first_of_users, active.months.counts
    drawn = random.integers(0, len(first), size=2 * N_ROWS // int(counts.mean()))
    drawn = drawn[: np.searchsorted(np.cumsum(counts[drawn]), N_ROWS) + 1]
    rows = np.concatenate([np.arange(first[user], first[user] + counts[user]) for user in drawn])
    months = active.months[rows]
    months.user[:] = np.repeat(np.arange(len(drawn)), counts[drawn])
    matrix = active.matrix[rows]
    while matrix.shape[1] < N_FEATURES:
        others = random.permutation(active.matrix.shape[1])[: min(active.matrix.shape[1], N_FEATURES - matrix.shape[1])]
        share = 0.1  # of the months: further features are rarer ones
        shuffled = matrix[random.permutation(len(rows))][:, others].multiply(random.random((len(rows), 1)) < share)
        matrix = csr_matrix(hstack([matrix, shuffled]))
        matrix.eliminate_zeros()
    return Examples(months, matrix, np.ones(len(rows), bool))


def fit(examples: Examples, learning: Learning) -> dict:
    """One regression."""
    in_bins, age_bin = examples.in_bins(learning.ages)
    with cpu() as figures:
        fitted = regression.fit(in_bins.matrix, age_bin, len(learning.ages.bins), 0.1)
    return figures | {"n_iterations": fitted.n_iterations}


def tune(examples: Examples, learning: Learning) -> dict:
    """Training on through the filter, as freely as is ever tried, which takes longest."""
    births = BirthMonths(
        learning.ages,
        learning.examples.months.lag.max() + 1,
        initial_prior_of(examples.months, learning.ages),
        hazard_of(examples.months, learning.ages),
    )
    in_bins, age_bin = examples.in_bins(learning.ages)
    plain = regression.fit(in_bins.matrix, age_bin, len(learning.ages.bins), 0.1)
    with cpu() as figures:
        tuned = train_through_filter.fine_tune(
            examples.matrix, examples.months, births, plain, max(ANCHOR_INVERSE_PENALTIES)
        )
    return figures | {"n_iterations": tuned.n_iterations}


def piece(name: str) -> dict:
    """One of the two, on enlarged data; its figures and the size of what it worked on."""
    learning = learning_of(WORK / "demo14.duckdb")
    examples = enlarged(learning)
    figures = {"fit": fit, "tune": tune}[name](examples, learning)
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
