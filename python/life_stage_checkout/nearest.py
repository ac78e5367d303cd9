"""Largest entries of every row of a matrix: the lists of nearest items."""

import numpy as np

NEAREST = 50


def nearest(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, column, score) of the NEAREST largest positive scores of every row; of equal ones the first column.

    Scores are compared to nine digits after the point, so that no rounding of a machine decides.
    """
    n_kept = min(NEAREST, scores.shape[1])
    if not n_kept:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    key = np.round(scores, 9) - np.arange(scores.shape[1]) * 1e-15
    column = np.argpartition(-key, n_kept - 1, axis=1)[:, :n_kept]
    row = np.repeat(np.arange(len(scores)), n_kept)
    score = np.take_along_axis(scores, column, axis=1).ravel()
    return row[score > 1e-9], column.ravel()[score > 1e-9], score[score > 1e-9]
