"""Small training set as arrays and frames: five age bins, three stages, known ground truth."""

from datetime import date

import numpy as np
import pandas as pd

from life_stage.filtering.birth_months import Ages, Months

AGES = Ages(
    ("not_yet", "unborn", "baby", "child", "grown"),
    (-12, -3, 0, 4, 8, 14),
    ("pregnancy", "baby", "child"),
    (-3, 0, 4, 8),
)
THROUGH = date(2017, 2, 1)
FEATURES = ("boots", "bottle", "diaper", "last_year:boots", "last_year:diaper", "vitamins")
# Expected days per month with each feature, by the age bin of the child.
DAYS = np.array(
    [
        [0.6, 0.1, 0.1, 0.3, 0.1, 0.4],
        [0.2, 0.5, 0.4, 0.2, 0.1, 2.0],
        [0.1, 2.0, 2.5, 0.1, 0.2, 0.5],
        [1.0, 0.5, 1.0, 0.3, 1.5, 0.2],
        [2.5, 0.1, 0.1, 1.2, 0.2, 0.1],
    ]
)


def training_tables(
    n_users: int, seed: int = 1, n_months: int = 6
) -> tuple[pd.DataFrame, dict[str, np.ndarray], pd.DataFrame]:
    """training_rows, the columns of design_matrix, training_vocabulary: users 1, 2, ... act in 7 months of 10.

    Seven users in ten train, two validate, one tests.
    """
    random = np.random.default_rng(seed)
    user, lag = np.repeat(np.arange(1, n_users + 1), n_months), np.tile(np.arange(n_months)[::-1], n_users)
    age = np.repeat(random.integers(-6, 13, n_users), n_months) - lag
    days = random.poisson(DAYS[np.clip(AGES.bin_of(age), 0, None)])
    this_year = ~np.char.startswith(FEATURES, "last_year:")
    acted, acted_before = random.random(len(user)) < 0.7, random.random(len(user)) < 0.3
    days[np.ix_(~acted, this_year)] = 0
    days[np.ix_(~acted_before, ~this_year)] = 0
    first = pd.Series(np.where(acted, lag, -1)).groupby(user).transform("max").to_numpy()
    kept = (lag <= first) & (acted | acted_before)
    months = [pd.Timestamp(THROUGH) - pd.DateOffset(months=n) for n in range(n_months)]
    rows = pd.DataFrame(
        {
            "user_no": user,
            "user_id": [f"u{n:06}" for n in user],
            "month": pd.DatetimeIndex(months)[lag],
            "split": np.array(["train"] * 7 + ["validation"] * 2 + ["test"])[user % 10],
            "age_months": age,
            "label": "registration",
            "is_active": acted,
            "tenure_months": first - lag,
        }
    )[kept].reset_index(drop=True)
    rows.insert(0, "row_no", np.arange(1, len(rows) + 1))
    row, column = days[kept].nonzero()
    matrix = {"row_no": row + 1, "feature_id": column + 1, "value": np.log1p(days[kept][row, column])}
    return rows, matrix, vocabulary_of(rows, matrix)


def vocabulary_of(rows: pd.DataFrame, matrix: dict[str, np.ndarray]) -> pd.DataFrame:
    """One row per feature, with the training rows that have it."""
    trains = (rows["split"] == "train").to_numpy()[matrix["row_no"] - 1]
    n_rows = np.bincount(matrix["feature_id"][trains], minlength=len(FEATURES) + 1)[1:]
    return pd.DataFrame(
        {"feature_id": np.arange(1, len(FEATURES) + 1), "feature": FEATURES, "n_rows": n_rows, "scale": 1.0}
    )


def months_of(users: list[tuple[int, int, list[int]]]) -> Months:
    """Months of users given as (age in the newest month, lag of the first month, lags), numbered 1, 2, ..."""
    found = [
        (number, lag, age - lag, first - lag)
        for number, (age, first, lags) in enumerate(users, 1)
        for lag in sorted(lags, reverse=True)
    ]
    return Months(*np.array(found, dtype=int).reshape(-1, 4).T)
