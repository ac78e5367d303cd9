"""Purchase shares of first-level categories by age: the measured part of the simulator.

Source: counts of labelled purchases by category and age stage in the public "Baby Goods Info Data" sample
(Taobao/Tmall purchases 2012-2015, 953 registered babies). The sample has category ids only; the names are inferred from
their age profiles.
"""

import numpy as np

from .ages import AGES, N_ROWS, NO_AGE

CATEGORIES = ("maternity", "diapers and care", "formula and food", "toys", "clothing", "shoes", "household")
HOUSEHOLD = CATEGORIES.index("household")
STAGE_CENTRES = (-16.0, -4.5, 3.0, 9.0, 18.0, 30.0, 60.0, 95.0)  # months
# Columns as CATEGORIES without household; rows as STAGE_CENTRES.
PURCHASES = np.array(
    [
        (0, 3, 1, 4, 9, 0),
        (48, 40, 2, 11, 23, 2),
        (14, 51, 1, 24, 50, 5),
        (4, 35, 21, 30, 48, 2),
        (3, 35, 15, 48, 76, 17),
        (5, 15, 2, 23, 68, 8),
        (3, 14, 4, 49, 103, 16),
        (0, 1, 0, 5, 16, 2),
    ]
)


def category_given_age(sharpness: float, household_share: float) -> np.ndarray:
    """p(category | age), shape (N_ROWS, 7): counts + 1, log shares interpolated between stage centres."""
    log_share = np.log((PURCHASES + 1) / (PURCHASES + 1).sum(axis=1, keepdims=True))
    smooth = np.column_stack([np.interp(AGES, STAGE_CENTRES, column) for column in log_share.T])
    weight = np.exp(sharpness * smooth)
    shares = np.zeros((N_ROWS, len(CATEGORIES)))
    shares[:NO_AGE, :HOUSEHOLD] = (1 - household_share) * weight / weight.sum(axis=1, keepdims=True)
    shares[:NO_AGE, HOUSEHOLD] = household_share
    shares[NO_AGE, :HOUSEHOLD] = 0.1 * shares[:NO_AGE, :HOUSEHOLD].mean(axis=0) / (1 - household_share)
    shares[NO_AGE, HOUSEHOLD] = 0.9
    return shares
