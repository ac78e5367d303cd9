"""Top entries of every row of a matrix, for lists of neighbours and recommendations."""

import numpy as np

NEAREST = 50


def nearest(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, column, score) of the NEAREST largest positive scores of every row; ties by column.

    Scores are compared at nine decimals, so that rounding differences between machines have no effect.
    """
    n_kept = min(NEAREST, scores.shape[1])
    if not n_kept:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    key = np.round(scores, 9) - np.arange(scores.shape[1]) * 1e-15
    column = np.argpartition(-key, n_kept - 1, axis=1)[:, :n_kept]
    row = np.repeat(np.arange(len(scores)), n_kept)
    score = np.take_along_axis(scores, column, axis=1).ravel()
    return row[score > 1e-9], column.ravel()[score > 1e-9], score[score > 1e-9]
