"""Multinomial logistic regression, step 1 of training: from the features of a month to the child's age bin.

Log-posterior minus log-prior is linear in the features, up to a term equal for all bins. So weights and intercepts
give the log-likelihood of a month, without the prior.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

MAX_ITERATIONS = 1000
TOLERANCE = 1e-3  # a smaller one takes longer without a gain in accuracy
MIN_BIN_ROWS = 30


class NotTrainedError(Exception):
    """The rows do not suffice for a model; the message gives the reason."""


@dataclass(frozen=True)
class LogLikelihood:
    """Weights (features x bins) and intercepts (bins), centred over the bins; prior: the training rows' bin shares."""

    weights: np.ndarray
    intercepts: np.ndarray
    prior: np.ndarray
    n_iterations: int

    def of(self, matrix: csr_matrix) -> np.ndarray:
        """rows x bins: the log-likelihood of each row of features."""
        return matrix @ self.weights + self.intercepts

    def only(self, features: np.ndarray) -> "LogLikelihood":
        """The log-likelihood of the marked features alone."""
        return replace(self, weights=self.weights[features])

    def among(self, features: np.ndarray) -> "LogLikelihood":
        """The same log-likelihood, its features being the marked ones of more; the others have weight 0."""
        weights = np.zeros((len(features), self.weights.shape[1]))
        weights[features] = self.weights
        return replace(self, weights=weights)


def fit(
    matrix: csr_matrix,
    age_bin: np.ndarray,
    n_bins: int,
    inverse_penalty: float,
    search_from: LogLikelihood | None = None,
) -> LogLikelihood:
    """Fit on rows x features with the index of each row's bin; raises NotTrainedError.

    A bin with too few rows takes the weights of the nearest sufficient one, because its own would be extreme.
    search_from: initial weights (default: 0); they save iterations.
    """
    from sklearn.linear_model import LogisticRegression  # takes over a second to load, and most runs fit nothing

    counts = np.bincount(age_bin, minlength=n_bins)
    supported = np.flatnonzero(counts >= MIN_BIN_ROWS)
    if len(supported) < 2 or matrix.shape[1] == 0:
        raise NotTrainedError(f"{len(supported)} age bins with {MIN_BIN_ROWS} rows, {matrix.shape[1]} features")
    known = np.isin(age_bin, supported)
    use_one_thread()
    share = counts[supported] / known.sum()
    regression = LogisticRegression(C=inverse_penalty, tol=TOLERANCE, max_iter=MAX_ITERATIONS, warm_start=True)
    if search_from and len(supported) > 2:
        regression.coef_ = search_from.weights[:, supported].T.astype(np.float32)
        regression.intercept_ = (search_from.intercepts[supported] + np.log(share)).astype(np.float32)
    regression.fit(matrix[known].astype(np.float32), age_bin[known])
    n_iterations = int(regression.n_iter_.max())
    coefficients, offsets = regression.coef_.astype(float), regression.intercept_.astype(float)
    if n_iterations >= MAX_ITERATIONS or not np.isfinite(coefficients).all():
        raise NotTrainedError(f"the regression did not converge in {n_iterations} iterations")
    if len(supported) == 2:  # scikit-learn keeps one row of weights for two classes
        coefficients, offsets = np.vstack([-coefficients, coefficients]) / 2, np.array([-1, 1]) * offsets / 2
    nearest = np.abs(np.arange(n_bins)[:, None] - supported[None, :]).argmin(axis=1)
    weights = coefficients.T[:, nearest]
    intercepts = (offsets - np.log(share))[nearest]
    return LogLikelihood(
        weights - weights.mean(axis=1, keepdims=True),
        intercepts - intercepts.mean(),
        (counts + 0.5) / (counts + 0.5).sum(),
        n_iterations,
    )


def use_one_thread() -> None:
    """Limit the process to one thread for matrix products, for good.

    The limit is never lifted: it holds for the whole process and changes the last bits of a sum, and dbt trains models
    in parallel threads.
    """
    threadpool_limits(1)


def log_loss(log_likelihood: LogLikelihood, matrix: csr_matrix, age_bin: np.ndarray) -> float:
    """Mean negative natural logarithm of the probability of each row's bin."""
    logits = log_likelihood.of(matrix) + np.log(log_likelihood.prior)
    top = logits.max(axis=1)
    of_truth = logits[np.arange(len(age_bin)), age_bin]
    return float((top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - of_truth).mean())
