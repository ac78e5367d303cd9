"""Predictions of every method for the test users in the evaluation window, by a model trained on neither."""

from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from life_stage.evaluation.evaluation_model import days_of, newest, of_this_month, read_log_likelihood, rolled_features
from life_stage.filtering.birth_months import Ages, BirthMonths, Months, last_months, softmax
from life_stage.filtering.tracks import primary_tracks
from life_stage.readout.readout import Readouts, ReadoutSettings, ReadoutWeights, day_kinds
from life_stage.training.examples import Examples, TrainingData
from life_stage.training.model_rows import read_readout
from life_stage.training.regression import LogLikelihood
from life_stage.training.retraining import read_age_divisions

Relation = duckdb.DuckDBPyRelation
HORIZONS = (1, 2, 3)  # months ahead, of the outlook


def predictions(
    *,
    window: Relation,
    age_bins: Relation,
    stages: Relation,
    rows: Relation,
    matrix: Relation,
    vocabulary: Relation,
    coefficients: Relation,
    options: dict[str, str],
) -> pd.DataFrame:
    """One row per method, test user and month of the window from the user's first month on; columns as in empty().

    Evaluates the newest model of `coefficients` that was trained before the window. options: `fusion_merge`.
    """
    ages = read_age_divisions(age_bins, stages)
    first, last, n_months = window.aggregate("min(month), max(month), count(*)").fetchall()[0]
    model = coefficients.filter(f"trained_through < date '{first}'").df() if first else pd.DataFrame()
    if model.empty:
        return empty(ages)
    model = model[model["trained_through"] == model["trained_through"].max()]
    version = model["model_version"].min()
    data = TrainingData.read(rows, matrix.filter("split = 'test'"), vocabulary).in_order()
    user_months, _, features = data
    examples = data.examples(last)
    is_evaluated = (user_months["split"] == "test").to_numpy()
    user_ids = user_months.loc[is_evaluated].drop_duplicates("user_no").set_index("user_no")["user_id"]
    if not is_evaluated.any():
        return empty(ages)
    panel = HeldOutPanel(examples[is_evaluated], features, ages, n_months)
    predicted = predictions_by_method(panel, model[model["model_version"] == version], options["fusion_merge"])
    month = np.datetime64(last, "M") - panel.readouts.lag
    keys = {"user_id": user_ids.loc[panel.readouts.user].to_numpy(), "month": month.astype("datetime64[s]")}
    frames = []
    for method, prediction in predicted.items():
        frame = pd.DataFrame({"method": method, **keys, "has_prediction": prediction.given})
        frame[[f"p_{stage}" for stage in ages.stages]] = prediction.p
        for horizon, entering in zip(HORIZONS, prediction.entering, strict=True):
            frame[[f"entering_{horizon}_{stage}" for stage in ages.stages]] = entering
        frames.append(frame.assign(expected_age_months=prediction.age, model_version=version))
    return pd.concat(frames, ignore_index=True)


def empty(ages: Ages) -> pd.DataFrame:
    """The columns and their types, without rows."""
    types = {"method": "string", "user_id": "string", "month": "datetime64[s]", "has_prediction": "bool"}
    shares = ("p", *(f"entering_{horizon}" for horizon in HORIZONS))
    of_stages = [f"{share}_{stage}" for share in shares for stage in ages.stages]
    types |= dict.fromkeys([*of_stages, "expected_age_months"], "float64")
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in {**types, "model_version": "string"}.items()})


@dataclass(frozen=True)
class Prediction:
    """A method's prediction per readout: p (readouts x stages), given (False: no prediction), the median age.

    entering: for each of HORIZONS, the probabilities of entering a stage (readouts x stages).
    """

    p: np.ndarray
    given: np.ndarray
    age: np.ndarray | float = np.nan
    entering: np.ndarray | tuple[float, ...] = (np.nan,) * len(HORIZONS)


class HeldOutPanel:
    """The test users' months with features, and the evaluated readouts: all their months of the window."""

    def __init__(self, examples: Examples, vocabulary: pd.DataFrame, ages: Ages, n_months: int) -> None:
        self.examples, self.vocabulary, self.ages, self.n_months = examples, vocabulary, ages, n_months
        self.readouts = last_months(examples.months, n_months)
        self.history = 1 + int(examples.months.lag.max(initial=0))
        self.users = np.unique(examples.months.user)

    def log_likelihood(self, model: pd.DataFrame, regression: str) -> LogLikelihood:
        """A regression of the model, for the panel's features."""
        return read_log_likelihood(model, regression, self.vocabulary, self.ages)

    def masses(self, log_likelihood: LogLikelihood, matrix) -> np.ndarray:
        """rows x stages: stage probabilities of each row alone, given that the child is in a stage."""
        p = softmax(log_likelihood.of(matrix) + np.log(log_likelihood.prior))
        return self.in_stages(p)

    def in_stages(self, bin_shares: np.ndarray) -> np.ndarray:
        """Shares of the stages from shares of the age bins."""
        stage = self.ages.stage_of(np.array(self.ages.bin_edges[:-1]))
        shares = np.stack([bin_shares[..., stage == s].sum(axis=-1) for s in range(len(self.ages.stages))], axis=-1)
        return shares / shares.sum(axis=-1, keepdims=True)

    def cube(self, values: np.ndarray, months: Months) -> np.ndarray:
        """users x months of the history x stages, oldest first; nan where there is no value."""
        found = np.full((len(self.users), self.history, values.shape[1]), np.nan)
        found[np.searchsorted(self.users, months.user), self.history - 1 - months.lag] = values
        return found

    def at_readouts(self, cube: np.ndarray) -> np.ndarray:
        """readouts x stages from users x months x stages, whose last month is the newest."""
        return cube[np.searchsorted(self.users, self.readouts.user), cube.shape[1] - 1 - self.readouts.lag]

    def filtered(
        self,
        births: BirthMonths,
        rows: Examples,
        log_likelihood: np.ndarray,
        weights: ReadoutWeights,
        kinds: np.ndarray,
        activity_table: np.ndarray,
    ) -> Prediction:
        """The birth-month filter on these rows; no prediction before a user's first active month."""
        began = dict(zip(rows.months.user, rows.months.lag + rows.months.tenure, strict=True))
        since = np.array([began.get(user, -1) for user in self.readouts.user]) - self.readouts.lag
        given = since >= 0
        chosen = self.readouts[given]
        chosen = Months(chosen.user, chosen.lag, chosen.age, since[given])
        readouts = Readouts.of(rows, log_likelihood, chosen, births, kinds, activity_table)
        p, age = np.full((len(given), len(self.ages.stages)), np.nan), np.full(len(given), np.nan)
        p[given], age[given] = readouts.probabilities(weights), readouts.median_ages(weights)
        entering = np.full((len(HORIZONS), *p.shape), np.nan)
        for of_horizon, horizon in zip(entering, HORIZONS, strict=True):
            of_horizon[given] = readouts.entering(weights, horizon)
        return Prediction(p, given, age, entering)


def predictions_by_method(panel: HeldOutPanel, model: pd.DataFrame, merge: str) -> dict[str, Prediction]:
    """Every method's predictions; the prior replaces missing ones."""
    examples, this_month = panel.examples, of_this_month(panel.vocabulary)
    settings = model[model["parameter_type"] == "setting"].set_index(["model_name", "feature"])["value"]
    priors = model[model["parameter_type"] == "initial_prior"].set_index(["model_name", "age_bin"])["value"]
    memory_less = panel.log_likelihood(model, "memory_less")
    alone = panel.cube(panel.masses(memory_less, examples.matrix), examples.months)
    window = alone[:, -panel.n_months :]
    edges = panel.ages.stage_edges
    rolling = rolled_features(examples, panel.readouts, this_month, days_of(panel.vocabulary))

    def births(regression: str, n_months: int) -> BirthMonths:
        initial_prior = priors[regression][list(panel.ages.bins)].to_numpy()
        return BirthMonths(panel.ages, n_months, initial_prior, settings["both", "birth_hazard"])

    active, short = examples[examples.is_active], newest(examples, panel.n_months)
    log_likelihood = panel.log_likelihood(model, "log_likelihood")
    learned, activity_table = read_readout(model, panel.ages)
    kinds = day_kinds(list(panel.vocabulary["feature"]), log_likelihood.weights)
    cold = ReadoutSettings(*(settings["memory_less", name] for name in ("tau", "gamma", "delta")))
    found = {
        "memory_less": panel.at_readouts(alone),
        "carry_last": panel.at_readouts(last_carried_forward(alone)),
        "rolling_6_months": np.where(
            np.diff(rolling.indptr)[:, None] > 0,
            panel.masses(panel.log_likelihood(model, "rolling_6_months").only(this_month), rolling),
            np.nan,
        ),
        "dynamic_fusion_cold": panel.at_readouts(primary_tracks(window, edges, merge)),
        "dynamic_fusion": panel.at_readouts(primary_tracks(alone, edges, merge)),
    }
    predicted = {name: Prediction(p, ~np.isnan(p[:, 0])) for name, p in found.items()}
    predicted["birth_month_filter_cold"] = panel.filtered(
        births("memory_less", panel.n_months),
        short,
        memory_less.of(short.matrix),
        ReadoutWeights.plain(cold, len(panel.ages.bins)),
        np.zeros_like(kinds),
        np.zeros_like(activity_table),
    )
    predicted["birth_month_filter"] = panel.filtered(
        births("log_likelihood", panel.history),
        active,
        log_likelihood.of(active.matrix),
        learned,
        kinds,
        activity_table,
    )
    prior = panel.in_stages(memory_less.prior)
    none_given = np.zeros(len(panel.readouts), bool)
    predicted = {
        name: Prediction(np.where(one.given[:, None], one.p, prior), one.given, one.age, one.entering)
        for name, one in predicted.items()
    }
    return {"prior": Prediction(np.tile(prior, (len(none_given), 1)), none_given), **predicted}


def last_carried_forward(cube: np.ndarray) -> np.ndarray:
    """Last observation carried forward, months along the second axis."""
    found = cube.copy()
    for month in range(1, cube.shape[1]):
        found[:, month] = np.where(np.isnan(cube[:, month]), found[:, month - 1], cube[:, month])
    return found
