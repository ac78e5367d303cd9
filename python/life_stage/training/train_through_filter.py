"""Training, step 2: end-to-end fine-tuning of the regression's weights through the birth-month filter.

A conditional logit over birth months, after one, two and three thirds of each user's active months. Some registered
birthdays are wrong: the likelihood mixes the posterior of the registered birth month (0.9) with its prior (0.1).
"""

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from life_stage.filtering.birth_months import BirthMonths, Months, softmax
from life_stage.training.regression import LogLikelihood, use_one_thread

TRUST = 0.9  # weight of the posterior in the likelihood of a registered birth month
SMOOTHNESS = 3.0  # penalty on weight differences between neighbouring bins
MAX_ITERATIONS = 120
TOLERANCE = 1e-6  # relative gain in loss per step below which the search stops


def thirds(rows: Months) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the rows that end one, two and three thirds of a user's rows, and their weights."""
    ends = rows.first_of_users[:, None] + -(-rows.counts[:, None] * np.arange(1, 4) // 3) - 1
    chosen, repeats = np.unique(ends, return_counts=True)
    return chosen, repeats / 3


def fine_tune(
    matrix: csr_matrix,
    rows: Months,
    births: BirthMonths,
    anchor: LogLikelihood,
    anchor_inverse_penalty: float,
    search_from: LogLikelihood | None = None,
) -> LogLikelihood:
    """The log-likelihood that fits the registered birth months best, with a penalty on the distance from `anchor`.

    matrix: rows x features; anchor_inverse_penalty: 1 / penalty; search_from: initial value (default: anchor).
    """
    chosen, weight = thirds(rows)
    readouts = rows[chosen]
    # Single precision for speed; penalties and sums over users are in double precision.
    log_prior, matrix = births.log_prior(readouts).astype(np.float32), matrix.astype(np.float32)
    weights, search_from, penalty = anchor.weights, search_from or anchor, 1 / anchor_inverse_penalty
    truth = (np.arange(len(readouts)), births.cell_of(readouts))
    prior_of_truth = np.exp(log_prior[truth].astype(float))
    transposed = matrix.T.tocsr()

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        theta = parameters.reshape(-1, weights.shape[1])
        single = theta.astype(np.float32)
        posterior = softmax(births.running_sum(matrix @ single[:-1] + single[-1], rows, readouts) + log_prior)
        posterior_of_truth = posterior[truth].astype(float)
        mixed = TRUST * posterior_of_truth + (1 - TRUST) * prior_of_truth
        responsibility = (weight * TRUST * posterior_of_truth / mixed).astype(np.float32)
        posterior *= responsibility[:, None]
        posterior[truth] -= responsibility
        row_gradient = births.gradient_of_log_likelihood(posterior, rows, readouts)
        away, jumps = theta[:-1] - weights, np.diff(theta[:-1], axis=1)
        gradient = np.vstack([transposed @ row_gradient + penalty * away, row_gradient.sum(axis=0, dtype=float)])
        gradient[:-1, :-1] -= SMOOTHNESS * jumps
        gradient[:-1, 1:] += SMOOTHNESS * jumps
        value = -(weight * np.log(mixed)).sum()
        value += penalty / 2 * (away**2).sum() + SMOOTHNESS / 2 * (jumps**2).sum()
        return value, gradient.ravel()

    initial = np.vstack([search_from.weights, search_from.intercepts]).ravel()
    limits = {"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE}
    use_one_thread()
    found = minimize(loss, initial, jac=True, method="L-BFGS-B", options=limits)
    theta = found.x.reshape(-1, weights.shape[1])
    theta -= theta.mean(axis=1, keepdims=True)
    return LogLikelihood(theta[:-1], theta[-1], anchor.prior, int(found.nit))
