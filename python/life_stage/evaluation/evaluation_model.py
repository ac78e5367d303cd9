"""The evaluated model: the one in production before the evaluation window, and the baselines of its time."""

from datetime import date
from functools import partial

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.sparse import csr_matrix

from life_stage.filtering.birth_months import Ages, BirthMonths, Months, last_months
from life_stage.filtering.scoring import LAST_YEAR
from life_stage.training.examples import Examples, TrainingData, initial_prior_of
from life_stage.training.model_rows import COLUMNS, long_rows, named_values, read_log_likelihood, regression_rows
from life_stage.training.regression import NotTrainedError
from life_stage.training.retraining import SCHEMA, is_due, log_progress, newest_date, penalties_of, read_age_divisions

Relation = duckdb.DuckDBPyRelation
ROLLING_MONTHS = 6
MAX_AGE_MONTHS = 6  # from which a model that was trained for the evaluation is replaced by a newer one
COLD_MONTHS = 6  # history on which the cold-start settings are calibrated


def train_evaluation_model_if_due(
    *,
    window: Relation,
    age_bins: Relation,
    stages: Relation,
    rows: Relation,
    matrix: Relation,
    vocabulary: Relation,
    registry: Relation,
    known: Relation | None,
    options: dict[str, int | bool],
) -> pa.Table:
    """Rows of the model to evaluate; no rows if `known` has it or the training data is too small.

    It is the model in production before the window. Without one, as in a first build, a model is trained on the
    months before the window, with the penalties of the newest model in production.
    window: evaluation_window; registry: stage_coefficients; known: this table; options: as of retraining.train_if_due,
    and `min_feature_support`.
    """
    first = window.aggregate("min(month)").fetchall()[0][0]
    if first is None:
        return SCHEMA.empty_table()
    through = month_before(first)
    production = newest_before(registry, first)
    evaluated = newest_before(known, first) if known is not None else None
    if evaluated and (evaluated >= production if production else not is_due(through, evaluated, MAX_AGE_MONTHS)):
        return SCHEMA.empty_table()
    ages = read_age_divisions(age_bins, stages)
    model = registry.filter(f"trained_through = date '{production}'").df() if production else None
    until = production or through
    try:
        data = TrainingData.read(rows, matrix, vocabulary)
        data = known_before(data, month_after(until), options["min_feature_support"])
        if model is None:
            newest = newest_date(registry, "trained_through")
            penalties = penalties_of(registry, newest) if newest else {}
            model = train_before(data, ages, until, options, penalties)
        model = with_baselines(model, data, ages, until)
    except NotTrainedError as error:
        log_progress("evaluation_coefficients", f"LS-ML-002 nothing is evaluated: {error}")
        return SCHEMA.empty_table()
    return pa.Table.from_pandas(model, schema=SCHEMA, preserve_index=False)


def newest_before(models: Relation, first: date) -> date | None:
    """The last month of training of the newest model that was trained on no month from `first` on."""
    return newest_date(models.filter(f"trained_through < date '{first}'"), "trained_through")


def month_before(month: date) -> date:
    """The first day of the month before."""
    return (np.datetime64(month, "M") - 1).astype("datetime64[D]").item()


def month_after(month: date) -> date:
    """The first day of the month after."""
    return (np.datetime64(month, "M") + 1).astype("datetime64[D]").item()


def known_before(data: TrainingData, first: date, min_support: int) -> TrainingData:
    """The data as of `first`: only months and registrations before it.

    Feature selection and scales use the training rows of that time.
    """
    rows, matrix, vocabulary = data.in_order()
    is_later = (pd.to_datetime(rows["month"]) >= pd.Timestamp(first)) | (rows["registered_at"] >= pd.Timestamp(first))
    is_known = ~is_later.to_numpy()
    row, feature, value = matrix["row_no"] - 1, matrix["feature_id"] - 1, matrix["value"]
    is_training = (is_known & (rows["split"] == "train").to_numpy())[row]
    support = np.bincount(feature[is_training], minlength=len(vocabulary))
    largest = np.zeros(len(vocabulary))
    np.maximum.at(largest, feature[is_training], np.abs(value[is_training]))
    factor = np.where((vocabulary["scale"] == 1) | (largest == 0), 1.0, largest)
    is_kept = support >= min_support
    chosen = is_known[row] & is_kept[feature]
    found = {
        "row_no": np.cumsum(is_known)[row[chosen]],
        "feature_id": np.cumsum(is_kept)[feature[chosen]],
        "value": (value / factor[feature])[chosen],
    }
    kept = vocabulary.assign(n_rows=support, scale=vocabulary["scale"] * factor)[is_kept]
    kept = kept.assign(feature_id=np.arange(1, len(kept) + 1))
    rows = rows[is_known]
    return TrainingData(rows.assign(row_no=np.arange(1, len(rows) + 1)), found, kept)


def train_before(
    data: TrainingData, ages: Ages, through: date, options: dict[str, int | bool], penalties: dict[str, float]
) -> pd.DataFrame:
    """Rows of stage_coefficients of a model that is trained on the data of known_before."""
    from life_stage.training.training import Options, train  # scikit-learn takes over a second to load

    training_options = Options(options["min_users"], options["fine_tuning"], **penalties)
    return train(data, ages, through, training_options, partial(log_progress, "evaluation_coefficients"))


def with_baselines(model: pd.DataFrame, data: TrainingData, ages: Ages, through: date) -> pd.DataFrame:
    """Rows of stage_coefficients, plus the models that only the evaluation needs.

    These are the regression over six months, and the filter's cold-start settings: COLD_MONTHS of history, with the
    stateless baseline's regression as log-likelihood.
    """
    from life_stage.training.training import fit, plain_readout

    examples, vocabulary = data.examples(through), data.vocabulary
    split, this_month = data.rows["split"].to_numpy(), of_this_month(vocabulary)
    settings = model[model["parameter_type"] == "setting"].set_index("feature")["value"]
    training = examples[split == "train"].plausible(ages)
    memory_less = read_log_likelihood(model, "memory_less", vocabulary, ages)
    over_six = rolled(training, this_month, days_of(vocabulary))
    rolling = fit(over_six, ages, settings["inverse_penalty"], memory_less.only(this_month))
    log_progress("evaluation_coefficients", "fitted the regression over six months")
    short = newest(training, COLD_MONTHS)
    births = BirthMonths(ages, COLD_MONTHS, initial_prior_of(short.months, ages), settings["birth_hazard"])
    readout = plain_readout(newest(examples[split == "validation"], COLD_MONTHS), births, memory_less)
    frame = pd.concat(
        [
            model,
            regression_rows("rolling_6_months", rolling, vocabulary[this_month], ages.bins),
            long_rows("initial_prior", [""], ages.bins, births.initial_prior[None, :]).assign(model_name="memory_less"),
            named_values("setting", vars(readout)).assign(model_name="memory_less"),
        ]
    )
    return frame.assign(trained_through=through, model_version=model["model_version"].iloc[0])[COLUMNS]


def of_this_month(vocabulary: pd.DataFrame) -> np.ndarray:
    """True for features of the month itself, False for those of the same month last year."""
    return ~vocabulary["feature"].str.startswith(LAST_YEAR).to_numpy()


def days_of(vocabulary: pd.DataFrame) -> np.ndarray:
    """True for features that count days; analysts' features with values have a scale of their own."""
    return (vocabulary["scale"] == 1).to_numpy()


def newest(examples: Examples, n_months: int) -> Examples:
    """The newest months, as if each user's history began with them."""
    kept = examples[examples.months.lag < n_months]
    months = kept.months
    began = np.repeat(months.tenure[months.first_of_users], months.counts)
    shortened = Months(months.user, months.lag, months.age, months.tenure - began)
    return Examples(shortened, kept.matrix, kept.is_active)


def rolled(examples: Examples, this_month: np.ndarray, counts_days: np.ndarray) -> Examples:
    """Every third month of the users, including inactive ones, with features over six months."""
    readouts = last_months(examples.months, 1 + int(examples.months.lag.max(initial=0)))
    readouts = readouts[readouts.lag % 3 == 0]
    matrix = rolled_features(examples, readouts, this_month, counts_days)
    has_features = np.diff(matrix.indptr) > 0
    return Examples(readouts[has_features], matrix[has_features], np.ones(has_features.sum(), bool))


def rolled_features(
    examples: Examples, readouts: Months, this_month: np.ndarray, counts_days: np.ndarray
) -> csr_matrix:
    """readouts x features of the month, over the six months up to each readout: ln(1 + days), or the sum of values."""
    step = 1 + int(max(examples.months.lag.max(initial=0), readouts.lag.max(initial=0))) + ROLLING_MONTHS
    key = examples.months.user * step - examples.months.lag
    end = readouts.user * step - readouts.lag
    low, high = (np.searchsorted(key, at, side="right") for at in (end - ROLLING_MONTHS, end))
    columns = np.concatenate([np.arange(a, b) for a, b in zip(low, high, strict=True)] or [np.zeros(0, int)])
    pointers = np.append(0, np.cumsum(high - low))
    window = csr_matrix((np.ones(len(columns)), columns, pointers), shape=(len(readouts), len(examples.months)))
    values = examples.matrix[:, this_month].tocsr(copy=True)
    in_days = counts_days[this_month]
    days = in_days[values.indices]
    values.data[days] = np.expm1(values.data[days])
    total = window @ values
    days = in_days[total.indices]
    total.data[days] = np.log1p(total.data[days])
    total.sort_indices()
    return total
