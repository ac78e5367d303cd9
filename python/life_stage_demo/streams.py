"""Independent random streams per purpose, chunk of users and month."""

import numpy as np

CATALOGUE, FAMILIES, MONTH, DIRT = 1, 2, 3, 4


def stream(seed: int, chunk: int, purpose: int, month: int = 0) -> np.random.Generator:
    """Random generator of one purpose; month: the month number, 0 if none."""
    return np.random.default_rng([seed, chunk, purpose, month])
