"""End-to-end fine-tuning, step 2 of training: the regression's weights are trained through the filter.

A conditional logit over birth months, after one, two and three thirds of each user's active months. A registered
birthday is wrong now and then, so the truth gets 0.9 of the likelihood and what is believed without evidence the rest.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from life_stage.birth_months import BirthMonths, Months, softmax
from life_stage.regression import LogLikelihood, use_one_thread

TRUST = 0.9  # share of the likelihood that a registered birthday gets
SMOOTHNESS = 3.0  # penalty on the differences between the weights of neighbouring bins
MAX_ITERATIONS = 120
TOLERANCE = 1e-6  # of the loss, relative, per step: a smaller gain is not worth a step


def thirds(rows: Months) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows after which one, two and three thirds of a user's rows are over, and what each counts for."""
    ends = rows.first_of_users[:, None] + -(-rows.counts[:, None] * np.arange(1, 4) // 3) - 1
    chosen, repeats = np.unique(ends, return_counts=True)
    return chosen, repeats / 3


def tune(
    matrix: csr_matrix,
    rows: Months,
    births: BirthMonths,
    anchor: LogLikelihood,
    anchor_inverse_penalty: float,
    search_from: LogLikelihood | None = None,
) -> LogLikelihood:
    """The evidence that fits the registered birth months best and stays near `anchor`.

    matrix: rows x features; freedom: the smaller, the nearer it stays; search_from: where to begin, if not there.
    """
    chosen, weight = thirds(rows)
    readouts = rows[chosen]
    # In single precision, which halves the time; the penalties and sums over users are in double.
    log_prior, matrix = births.log_prior(readouts).astype(np.float32), matrix.astype(np.float32)
    weights, search_from, penalty = anchor.weights, search_from or anchor, 1 / anchor_inverse_penalty
    truth = (np.arange(len(readouts)), births.cell_of(readouts))
    prior_of_truth = np.exp(log_prior[truth].astype(float))
    transposed = matrix.T.tocsr()

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        theta = parameters.reshape(-1, weights.shape[1])
        single = theta.astype(np.float32)
        posterior = softmax(births.running_sum(matrix @ single[:-1] + single[-1], rows, readouts) + log_prior)
        of_truth = posterior[truth].astype(float)
        mixed = TRUST * of_truth + (1 - TRUST) * prior_of_truth
        pull = (weight * TRUST * of_truth / mixed).astype(np.float32)
        posterior *= pull[:, None]
        posterior[truth] -= pull
        of_evidence = births.gradient_of_log_likelihood(posterior, rows, readouts)
        away, jumps = theta[:-1] - weights, np.diff(theta[:-1], axis=1)
        gradient = np.vstack([transposed @ of_evidence + penalty * away, of_evidence.sum(axis=0, dtype=float)])
        gradient[:-1, :-1] -= SMOOTHNESS * jumps
        gradient[:-1, 1:] += SMOOTHNESS * jumps
        value = -(weight * np.log(mixed)).sum()
        value += penalty / 2 * (away**2).sum() + SMOOTHNESS / 2 * (jumps**2).sum()
        return value, gradient.ravel()

    first = np.vstack([search_from.weights, search_from.intercepts]).ravel()
    limits = {"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE}
    use_one_thread()
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options=limits)
    theta = found.x.reshape(-1, weights.shape[1])
    theta -= theta.mean(axis=1, keepdims=True)
    return LogLikelihood(theta[:-1], theta[-1], anchor.prior, int(found.nit))
