"""Cross-validated accuracy of single months for registered users: python -m life_stage.training.cross_validation.

Five-fold cross-validation on users with the project's regression, five times. Rows are the active months of users with
one registered child whose age at the month's end lies in a stage.
"""

import argparse

import duckdb
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from life_stage import paths
from life_stage.filtering.birth_months import softmax
from life_stage.training import regression

ROWS = """
    select labels.user_id, labels.month, stages.stage as age_bin
    from stage_labels as labels
    inner join user_months using (user_id, month)
    inner join stages on labels.age_months >= stages.from_month and labels.age_months < stages.to_month
    where labels.n_children = 1 order by all
"""
FEATURES = """
    select user_id, month, feature, value from user_month_features
    where feature in (select feature from user_month_features group by feature having count(*) >= ?)
"""


def cross_validate(
    rows: pd.DataFrame, features: pd.DataFrame, stages: tuple[str, ...], inverse_penalty: float, repeats: int = 5
) -> pd.DataFrame:
    """Accuracy and log-loss per repeat, of the regression and of the stage shares alone."""
    matrix = design_matrix(rows, features)
    truth = pd.Categorical(rows["age_bin"], categories=stages).codes.astype(int)
    users = pd.factorize(rows["user_id"])[0]
    scores = []
    for repeat in range(repeats):
        folds = np.random.default_rng(repeat).permutation(users.max() + 1)[users] % 5
        predicted, shares = np.empty((len(rows), len(stages))), np.empty((len(rows), len(stages)))
        for fold in range(5):
            held_out = folds == fold
            fitted = regression.fit(matrix[~held_out], truth[~held_out], len(stages), inverse_penalty)
            predicted[held_out] = posterior(fitted.of(matrix[held_out]), fitted.prior)
            shares[held_out] = fitted.prior
        scores.append(("regression", repeat, (predicted.argmax(axis=1) == truth).mean(), log_loss(predicted, truth)))
        # The majority class of all rows: an upper bound of a constant prediction from the training folds.
        scores.append(("majority", repeat, np.bincount(truth).max() / len(truth), log_loss(shares, truth)))
    return pd.DataFrame(scores, columns=["method", "repeat", "accuracy", "log_loss"])


def design_matrix(rows: pd.DataFrame, features: pd.DataFrame) -> csr_matrix:
    """rows x features, in the order of the rows."""
    row_numbers = rows[["user_id", "month"]].assign(row_no=np.arange(len(rows)))
    entries = features.merge(row_numbers, on=["user_id", "month"])
    columns, names = pd.factorize(entries["feature"], sort=True)
    return csr_matrix((entries["value"], (entries["row_no"], columns)), shape=(len(rows), len(names)))


def log_loss(probability: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative logarithm of the probability (rows x stages) of each row's true stage."""
    return -np.log(np.maximum(probability[np.arange(len(truth)), truth], 1e-12)).mean()


def posterior(log_likelihood: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Stage probabilities (rows x stages) from the log-likelihood and the prior shares."""
    return softmax(log_likelihood + np.log(np.maximum(share, 1e-12)))


def main() -> None:
    """Print the mean scores over the repeats."""
    parser = argparse.ArgumentParser(prog="life_stage.training.cross_validation", description=__doc__)
    parser.add_argument("--min-support", type=int, default=1, help="user-months a feature must occur in")
    parser.add_argument("--inverse-penalty", type=float, default=0.3, help="C of the regression")
    options = parser.parse_args()
    with duckdb.connect(paths.warehouse(), read_only=True) as connection:
        rows = connection.sql(ROWS).df()
        features = connection.execute(FEATURES, [options.min_support]).df()
        stages = tuple(stage for (stage,) in connection.sql("select stage from stages order by stage_no").fetchall())
    scores = (
        cross_validate(rows, features, stages, options.inverse_penalty)
        .groupby("method")[["accuracy", "log_loss"]]
        .mean()
    )
    n_users = rows["user_id"].nunique()
    print(f"{len(rows):,} months of {n_users:,} registered users, {len(stages)} stages, 5 x 5 folds of users")
    print(scores.round(3).to_string())


if __name__ == "__main__":
    main()
