"""A trained model as rows of stage_coefficients, and a digest of its content."""

import hashlib
from collections.abc import Iterable
from dataclasses import fields

import numpy as np
import pandas as pd

from life_stage.filtering.birth_months import Ages
from life_stage.readout.activity import N_CODES
from life_stage.readout.readout import TERMS, ReadoutSettings, ReadoutWeights
from life_stage.training.regression import LogLikelihood

ACTIVITY_CODES = [str(code) for code in range(N_CODES)]
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


def read_log_likelihood(model: pd.DataFrame, regression: str, vocabulary: pd.DataFrame, ages: Ages) -> LogLikelihood:
    """A regression of a model's rows, for design_matrix, whose features have the scale of `vocabulary`.

    Features that the model was not trained on have weight 0.
    """
    rows = model[model["model_name"] == regression]
    wide = rows[rows["parameter_type"].isin(["coefficient", "intercept", "prior"])].pivot(
        index=["parameter_type", "feature"], columns="age_bin", values="value"
    )[list(ages.bins)]
    weights = wide.loc["coefficient"].reindex(vocabulary["feature"]).fillna(0.0).to_numpy()
    return LogLikelihood(
        weights * vocabulary["scale"].to_numpy()[:, None],
        wide.loc[("intercept", "")].to_numpy(),
        wide.loc[("prior", "")].to_numpy(),
        0,
    )


def readout_rows(
    weights: ReadoutWeights | None, levels: np.ndarray | None, activity_table: np.ndarray, ages: Ages
) -> pd.DataFrame:
    """Parameters of a calibrated readout and its activity model; no rows without weights: the settings suffice."""
    if weights is None:
        return pd.DataFrame()
    inside = ages.stage_of(np.array(ages.bin_edges[:-1])) >= 0
    bins = [name for name, is_inside in zip(ages.bins, inside, strict=True) if is_inside]
    bands = [f"{stage} {band}" for stage in ages.stages for band in range(levels.shape[1])]
    return pd.concat(
        [
            long_rows("log_tau", TERMS, [""], weights.log_tau[:, None]),
            long_rows("logit_delta", TERMS, [""], weights.logit_delta[:, None]),
            long_rows("bias", TERMS, bins, weights.bias[:, inside]),
            long_rows("activity_weight", [""], [""], np.array([[weights.kappa]])),
            long_rows("interval_level", bands, [""], levels.reshape(-1, 1)),
            long_rows("activity", ACTIVITY_CODES, ages.bins, activity_table),
        ],
        ignore_index=True,
    ).assign(model_name="readout")


def read_readout(model: pd.DataFrame, ages: Ages) -> tuple[ReadoutWeights, np.ndarray]:
    """Weights and activity table of a model's rows. Without such rows: those of the plain readout."""
    rows = model[model["model_name"] == "readout"].set_index(["parameter_type", "feature", "age_bin"])["value"]
    n_bins = len(ages.bins)
    if rows.empty:
        settings = model[model["parameter_type"] == "setting"].set_index(["model_name", "feature"])["value"]["both"]
        plain = ReadoutSettings(*(settings[f.name] for f in fields(ReadoutSettings)))
        return ReadoutWeights.plain(plain, n_bins), np.zeros((N_CODES, n_bins))
    log_tau, logit_delta = (
        rows[kind].droplevel("age_bin")[list(TERMS)].to_numpy() for kind in ("log_tau", "logit_delta")
    )
    bias = rows["bias"].unstack().reindex(index=TERMS, columns=ages.bins, fill_value=0.0).to_numpy()
    table = rows["activity"].unstack().reindex(index=ACTIVITY_CODES, columns=ages.bins).to_numpy()
    kappa = float(rows["activity_weight"].iloc[0])
    return ReadoutWeights(log_tau, logit_delta, kappa, bias), table


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
