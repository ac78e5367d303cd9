"""Target ages of sessions in completed months (negative in pregnancy), and their rows in likelihood tables."""

import numpy as np

FIRST_AGE, LAST_AGE = -9, 110
AGES = np.arange(FIRST_AGE, LAST_AGE + 1)
NO_AGE = len(AGES)  # the table row of a session that is for no child
N_ROWS = len(AGES) + 1


def age_row(age: np.ndarray) -> np.ndarray:
    """Table row of each age in months; ages beyond the last take its row."""
    return np.clip(age, FIRST_AGE, LAST_AGE) - FIRST_AGE


def warped(age):
    """Age on a logarithmic scale, because a month matters more for younger children."""
    return np.log(np.asarray(age, dtype=float) + 12.0)


def range_fit(first: float, last: float, decay: float, floor: float) -> np.ndarray:
    """Demand at each of AGES for an item for ages [first, last) months: 1 inside, decaying to floor outside."""
    below = np.maximum(0, warped(first) - warped(AGES))
    above = np.maximum(0, warped(AGES) - warped(last - 1))
    return floor + (1 - floor) * np.exp(-(below + above) / decay)
