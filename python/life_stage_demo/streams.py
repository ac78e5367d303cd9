"""Random streams, one per purpose, chunk of users and month: no sample depends on another part."""

import numpy as np

CATALOGUE, FAMILIES, MONTH, DIRT = 1, 2, 3, 4


def stream(seed: int, chunk: int, purpose: int, month: int = 0) -> np.random.Generator:
    """The generator of one purpose; month is the running month number, 0 where there is none."""
    return np.random.default_rng([seed, chunk, purpose, month])
