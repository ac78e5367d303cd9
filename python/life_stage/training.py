"""Training: a multinomial logistic regression from the features of a month to the child's age bin, kept as rows.

The fitted model is a frame of coefficients (no pickle anywhere); scoring is a join and a sum in SQL. Log-posterior
minus log-prior is linear in the features up to a term equal for all bins, so `coefficient` and `intercept` rows are
evidence: what a month says about the age, without what was known before it.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

COLUMNS = ["model_version", "trained_through", "kind", "feature", "age_bin", "value"]


@dataclass(frozen=True)
class Settings:
    """How a model is trained and how its evidence is read.

    tau, gamma, delta: steepness of the evidence, how it wears off with the number of active months, and the share of
    the belief left to the prior; birth_hazard: share of families not yet expecting that start to expect each month.
    """

    age_bins: tuple[str, ...]
    min_training_users: int
    inverse_penalty: float = 0.3
    min_bin_rows: int = 30
    max_iterations: int = 500
    tau: float = 1.3
    gamma: float = 0.2
    delta: float = 0.02
    birth_hazard: float = 0.008


def train(rows: pd.DataFrame, features: pd.DataFrame, through: date, settings: Settings) -> pd.DataFrame:
    """Fit one model; returns its rows with COLUMNS, or none of them where there is too little to learn from.

    rows: one per training user x month with `age_bin`; features: user_id, month, feature, n_days of those rows.
    """
    rows = rows.sort_values(["user_id", "month"], ignore_index=True)
    counts = rows["age_bin"].value_counts().reindex(settings.age_bins, fill_value=0).to_numpy()
    supported = np.flatnonzero(counts >= settings.min_bin_rows)
    if rows["user_id"].nunique() < settings.min_training_users or len(supported) < 2:
        return pd.DataFrame(columns=COLUMNS)
    if features.empty:
        return pd.DataFrame(columns=COLUMNS)
    names, matrix = design_matrix(rows, features)
    weights, intercepts = fit_evidence(matrix, rows["age_bin"].to_numpy(), supported, settings)
    prior = (counts + 0.5) / (counts + 0.5).sum()
    bins = list(settings.age_bins)
    frames = [
        long_rows("coefficient", names, bins, weights),
        long_rows("intercept", [""], bins, intercepts[None, :]),
        long_rows("prior", [""], bins, prior[None, :]),
        long_rows("setting", list(readings(settings)), [""], np.array(list(readings(settings).values()))[:, None]),
    ]
    model = pd.concat(frames, ignore_index=True)
    model.insert(0, "trained_through", through)
    model.insert(0, "model_version", f"{through:%Y-%m}-{fingerprint(model, settings)}")
    return model[COLUMNS]


def design_matrix(rows: pd.DataFrame, features: pd.DataFrame) -> tuple[list[str], csr_matrix]:
    """Feature names in order and the matrix rows x features of ln(1 + days)."""
    names = sorted(features["feature"].unique())
    row_numbers = pd.Series(np.arange(len(rows)), index=pd.MultiIndex.from_frame(rows[["user_id", "month"]]))
    at_row = row_numbers.loc[pd.MultiIndex.from_frame(features[["user_id", "month"]])].to_numpy()
    at_column = pd.Index(names).get_indexer(features["feature"])
    values = np.log1p(features["n_days"].to_numpy(dtype=float))
    return names, csr_matrix((values, (at_row, at_column)), shape=(len(rows), len(names)))


def fit_evidence(
    matrix: csr_matrix, age_bin: np.ndarray, supported: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Evidence weights (features x bins) and intercepts (bins), centred over the bins.

    A bin with too few rows takes those of the nearest supported one: left to itself it would win by a wide margin.
    """
    names = np.array(settings.age_bins)[supported]
    known = np.isin(age_bin, names)
    regression = LogisticRegression(C=settings.inverse_penalty, max_iter=settings.max_iterations)
    with threadpool_limits(1):
        regression.fit(matrix[known], age_bin[known])
    order = [list(regression.classes_).index(name) for name in names]
    coefficients = regression.coef_ if len(names) > 2 else np.vstack([-regression.coef_, regression.coef_]) / 2
    offsets = regression.intercept_ if len(names) > 2 else np.array([-1, 1]) * regression.intercept_[0] / 2
    share = np.array([(age_bin[known] == name).mean() for name in names])
    nearest = np.abs(np.arange(len(settings.age_bins))[:, None] - supported[None, :]).argmin(axis=1)
    weights = coefficients[order].T[:, nearest]
    intercepts = (offsets[order] - np.log(share))[nearest]
    return weights - weights.mean(axis=1, keepdims=True), intercepts - intercepts.mean()


def readings(settings: Settings) -> dict[str, float]:
    """The settings that the belief is read with."""
    return {name: getattr(settings, name) for name in ("tau", "gamma", "delta", "birth_hazard")}


def long_rows(kind: str, features: list[str], bins: list[str], values: np.ndarray) -> pd.DataFrame:
    """One row per feature x age bin of `values` (features x bins)."""
    return pd.DataFrame(
        {
            "kind": kind,
            "feature": np.repeat(np.array(features, dtype=object), len(bins)),
            "age_bin": np.tile(np.array(bins, dtype=object), len(features)),
            "value": values.ravel(),
        }
    )


def fingerprint(model: pd.DataFrame, settings: Settings) -> str:
    """Eight hex digits that name what the model learned and how it is read."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    digest.update(model[["kind", "feature", "age_bin"]].to_csv(index=False).encode())
    digest.update(model["value"].to_numpy().tobytes())
    return digest.hexdigest()[:8]
