"""A trained model as rows of stage_coefficients, and a digest of its content."""

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from life_stage.regression import LogLikelihood

COLUMNS = ["model_version", "trained_through", "model_name", "parameter_type", "feature", "age_bin", "value"]


def regression_rows(name: str, fitted: LogLikelihood, vocabulary: pd.DataFrame, bins: tuple[str, ...]) -> pd.DataFrame:
    """Parameters of a regression for the features of `vocabulary`, in the features' original units."""
    features, scale = list(vocabulary["feature"]), vocabulary["scale"].to_numpy()
    frames = [
        long_rows("coefficient", features, bins, fitted.weights / scale[:, None]),
        long_rows("intercept", [""], bins, fitted.intercepts[None, :]),
        long_rows("prior", [""], bins, fitted.prior[None, :]),
        long_rows("support", features, [""], vocabulary["n_rows"].to_numpy(float)[:, None]),
        long_rows("scale", features, [""], scale[:, None]),
    ]
    return pd.concat(frames, ignore_index=True).assign(model_name=name)


def long_rows(parameter_type: str, features: Iterable[str], bins: Iterable[str], values: np.ndarray) -> pd.DataFrame:
    """One row per feature x age bin of `values` (features x bins)."""
    index = pd.MultiIndex.from_product([features, bins], names=["feature", "age_bin"])
    return pd.DataFrame({"value": values.ravel()}, index=index).reset_index().assign(parameter_type=parameter_type)


def named_values(parameter_type: str, values: dict[str, float]) -> pd.DataFrame:
    """One row per name, shared by both regressions."""
    return long_rows(parameter_type, list(values), [""], np.array(list(values.values()))[:, None]).assign(
        model_name="both"
    )


def content_digest(*parts: np.ndarray | pd.DataFrame) -> str:
    """First 16 hexadecimal digits of the content's SHA-256."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.to_csv(index=False).encode() if isinstance(part, pd.DataFrame) else part.tobytes())
    return found.hexdigest()[:16]
