"""Ablation study of the method and its robustness, one change at a time: make ablation

On the warehouses of bench/experiment.py, built if missing, with the months and data of the project's own evaluation.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pages
import pandas as pd
from experiment import error_of_mean, source_of, warehouse_of, with_truth
from harness import SEEDS, keep, progress, queries
from scipy.sparse import csr_matrix, diags_array, hstack

from life_stage.evaluation.evaluation import predictions
from life_stage.evaluation.evaluation_model import known_before, month_before, newest, of_this_month
from life_stage.evaluation.evaluation_model import train_evaluation_model_if_due as train_if_due
from life_stage.filtering.birth_months import Ages, BirthMonths, last_months
from life_stage.readout import activity, calibration
from life_stage.readout.calibration import UNCALIBRATED, calibration_error
from life_stage.readout.readout import TERMS, Readouts, ReadoutSettings, ReadoutWeights, day_kinds
from life_stage.training import train_through_filter, training
from life_stage.training.examples import Examples, TrainingData, hazard_of, initial_prior_of
from life_stage.training.regression import LogLikelihood
from life_stage.training.regularisation import choose_inverse_penalty
from life_stage.training.retraining import read_age_divisions

SUPPORT = 50
LABEL_COUNTS = (100, 300, 1_000, 3_000)


@dataclass(frozen=True)
class Samples:
    """Training and validation users before the evaluation window, and test users with their whole history."""

    training: Examples
    validation: Examples
    test: Examples
    this_month: np.ndarray
    ages: Ages
    n_months: int
    features: list[str]
    inverse_penalty: float

    def changed(self, change: Callable[[Examples], Examples], *parts: str) -> "Samples":
        """A copy with changed examples of some parts, by default of all."""
        parts = parts or ("training", "validation", "test")
        return replace(self, **{part: change(getattr(self, part)) for part in parts})

    def of_this_month(self) -> "Samples":
        """Active months alone, without the features of last year's month."""
        return self.changed(lambda examples: examples.active(self.this_month))

    def births(self) -> BirthMonths:
        """The filter with the prior of the training users."""
        months, n_months = self.training.months, 1 + int(max(of.months.lag.max() for of in (self.training, self.test)))
        return BirthMonths(self.ages, n_months, initial_prior_of(months, self.ages), hazard_of(months, self.ages))


def samples_of(seed: int, inverse_penalty: float | None = None, count_events: bool = False) -> Samples:
    """The training tables of a seed as the evaluation uses them; None: the penalty is chosen by cross-validation."""
    with duckdb.connect(str(warehouse_of(seed)), read_only=True) as connection:
        rows = connection.sql("from training_rows order by row_no").df()
        vocabulary = connection.sql("from training_vocabulary order by feature_id").df()
        events = queries("ablation")["event counts"]
        matrix = connection.sql(events if count_events else "from design_matrix").fetchnumpy()
        ages = read_age_divisions(connection.table("age_bins"), connection.table("stages"))
        window = connection.sql("select min(month), max(month), count(*) from evaluation_window")
        first, last, n_months = window.fetchall()[0]
    data = TrainingData(rows, matrix, vocabulary)
    past, _, known = before_window = known_before(data, first, SUPPORT)
    before, examples = before_window.examples(month_before(first)), data.examples(last)
    scale = diags_array(vocabulary["scale"][known.index] / known["scale"])  # of the time before the window
    examples = replace(examples, matrix=csr_matrix(examples.matrix[:, known.index] @ scale))
    split, past_split, this_month = rows["split"].to_numpy(), past["split"].to_numpy(), of_this_month(known)
    parts = before[past_split == "train"].plausible(ages), before[past_split == "validation"], examples[split == "test"]
    found = Samples(*parts, this_month, ages, n_months, list(known["feature"][this_month]), inverse_penalty or 0.0)
    if inverse_penalty:
        return found
    return replace(found, inverse_penalty=choose_inverse_penalty(found.of_this_month().training, ages))


def plain(samples: Samples, births: BirthMonths) -> LogLikelihood:
    """Step 1: the regression."""
    return training.fit(samples.training, samples.ages, samples.inverse_penalty)


def through_filter(samples: Samples, births: BirthMonths) -> LogLikelihood:
    """Step 2: end-to-end fine-tuning through the filter."""
    active = samples.training
    return train_through_filter.fine_tune(active.matrix, active.months, births, plain(samples, births), 1 / 100)


def with_prior(samples: Samples, births: BirthMonths) -> LogLikelihood:
    """Posteriors instead of log-likelihoods: the prior of each month is not removed."""
    found = plain(samples, births)
    return replace(found, intercepts=found.intercepts + np.log(found.prior))


def scores(
    samples: Samples,
    log_likelihood_of: Callable[[Samples, BirthMonths], LogLikelihood] = plain,
    settings: ReadoutSettings | None = None,
    last_year: bool = False,
    history: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correctness, log-loss and user of each evaluated user-month with the plain readout; defaults: the project's."""
    readouts = last_months(samples.test.months, samples.n_months)
    used = samples if last_year else samples.of_this_month()
    births, test = used.births(), used.test
    log_likelihood = log_likelihood_of(used, births)
    settings = settings or training.plain_readout(used.validation, births, log_likelihood)
    if history:
        test = newest(test, history)
        readouts = replace(readouts, tenure=np.minimum(readouts.tenure, history - 1 - readouts.lag))
    scored = Readouts.plain(test, log_likelihood.of(test.matrix), readouts, births).scored()
    predicted = scored.probabilities(ReadoutWeights.plain(settings, len(samples.ages.bins)))
    probability = predicted[np.arange(len(predicted)), scored.stage]
    return predicted.argmax(axis=1) == scored.stage, -np.log(probability), scored.months.user


def in_stages(samples: Samples) -> Samples:
    """Six stages and the two outer bins instead of 20 bins."""
    ages = samples.ages
    edges = (ages.bin_edges[0], *ages.stage_edges, ages.bin_edges[-1])
    return replace(samples, ages=Ages(("not_yet", *ages.stages, "grown"), edges, ages.stages, ages.stage_edges))


def wrong_labels(examples: Examples, share: float) -> Examples:
    """A share of additional users whose child's age is sampled from another user."""
    rng, months = np.random.default_rng(0), examples.months
    users, first, user = np.unique(months.user, return_index=True, return_inverse=True)
    sampled = rng.permutation((months.age + months.lag)[first])
    is_wrong = rng.random(len(users)) < share
    age = np.where(is_wrong[user], sampled[user] - months.lag, months.age)
    return replace(examples, months=replace(months, age=age))


def thinned(examples: Examples, share: float) -> Examples:
    """A share of the months removed, as if they were inactive, except each user's first one."""
    kept = np.random.default_rng(0).random(len(examples.months)) >= share
    kept[examples.months.first_of_users] = True
    return examples[kept]


def exchanged(examples: Examples, share: float) -> Examples:
    """A share of the active months with the actions of another user."""
    rng = np.random.default_rng(0)
    source = np.arange(len(examples.months))
    moved = np.flatnonzero((rng.random(len(source)) < share) & examples.is_active)
    source[moved] = rng.permutation(moved)
    return replace(examples, matrix=examples.matrix[source])


def binary(examples: Examples) -> Examples:
    """Binary features instead of the number of days."""
    found = examples.matrix.copy()
    found.data = np.where(found.data > 0, np.log(2), found.data)
    return replace(examples, matrix=found)


def inactive_months_added(examples: Examples) -> Examples:
    """Inactive months as additional rows, marked by one more feature."""
    all_months = last_months(examples.months, 1 + int(examples.months.lag.max()))
    keys = [months.user * 1000 - months.lag for months in (all_months, examples.months)]
    index = np.searchsorted(keys[0], keys[1])
    inactive = np.ones(len(all_months), bool)
    inactive[index[examples.is_active]] = False
    shape = (len(all_months), len(examples.months))
    into = csr_matrix((np.ones(len(index)), (index, np.arange(len(index)))), shape)
    matrix = hstack([into @ examples.matrix, csr_matrix(inactive.astype(float)[:, None])], format="csr")
    return Examples(all_months, matrix, np.ones(len(all_months), bool))


def changes_of(samples: Samples) -> dict[str, tuple[Samples, dict]]:
    """Samples and arguments of `scores` by change."""
    with_inactive = samples.changed(inactive_months_added)
    with_inactive = replace(with_inactive, this_month=np.append(samples.this_month, True))
    events = samples_of(SEEDS[0], samples.inverse_penalty, count_events=True)
    found = {
        "6 stages instead of 20 age bins": (in_stages(samples), {}),
        "end-to-end fine-tuning (step 2, anchor penalty 100)": (samples, {"log_likelihood_of": through_filter}),
        "no prior correction (posteriors multiplied)": (samples, {"log_likelihood_of": with_prior}),
        "without calibration": (samples, {"settings": UNCALIBRATED}),
        "event counts instead of active days": (events, {}),
        "binary features instead of active days": (samples.changed(binary), {}),
        "log-likelihood of inactive months added": (with_inactive, {}),
        "features of last year's month added": (samples, {"last_year": True}),
    }
    for months in (6, 12, 18):
        found[f"history of {months} months"] = (samples, {"history": months})

    def add(name: str, change: Callable[[Examples, float], Examples], amounts: tuple, *parts: str) -> None:
        for amount in amounts:
            changed = samples.changed(lambda examples, amount=amount: change(examples, amount), *parts)
            found[name.format(amount)] = (changed, {})

    add("{:.0%} more wrong labels in training", wrong_labels, (0.1, 0.2), "training", "validation")
    add("{:.0%} of the active months left out", thinned, (0.25, 0.5, 0.75))
    add("{:.0%} of test months from another user", exchanged, (0.1, 0.3), "test")
    return found


def differences(samples: Samples) -> dict[str, dict[str, float]]:
    """Every change against the default, on the same user-months."""
    right, loss, user = scores(samples)
    found = {}
    for name, (changed, arguments) in changes_of(samples).items():
        other_right, other_loss, other_user = scores(changed, **arguments)
        assert (other_user == user).all(), "the same user-months"
        found[name] = mean("accuracy", other_right * 1.0 - right, user) | mean("log_loss", other_loss - loss, user)
        print(name, found[name], flush=True)
    return found


def with_few_labels(n_users: int) -> dict[str, dict[str, float]]:
    """Accuracy of every method on the same test users, with n_users training and 0.3 n_users validation users."""
    names = {"rows": "training_rows", "matrix": "design_matrix", "vocabulary": "training_vocabulary"}
    names |= {"age_bins": "age_bins", "stages": "stages"}
    options = {"min_users": 1, "min_feature_support": SUPPORT, "every_months": 0}
    options |= {"fine_tuning": True, "fusion_merge": "mean"}
    with duckdb.connect(str(warehouse_of(SEEDS[0])), read_only=True) as connection:
        tables = {name: connection.table(table) for name, table in names.items()}
        few = {**tables, "rows": connection.sql(queries("ablation", n_users=n_users)["few labels"])}
        window, registry = connection.table("evaluation_window"), connection.table("stage_coefficients")
        model = train_if_due(**few, window=window, registry=registry, known=None, options=options)
        coefficients = connection.from_arrow(model)
        predicted = predictions(**tables, window=window, coefficients=coefficients, options=options)
        truth = connection.sql("select user_id, month, true_stage from stage_predictions where method = 'prior'").df()
    stages = [column for column in predicted if column.startswith("p_")]
    predicted["stage"] = predicted[stages].idxmax(axis=1).str.removeprefix("p_")
    predicted = predicted.merge(truth, on=["user_id", "month"])
    accuracy = (predicted["stage"] == predicted["true_stage"]).groupby(predicted["method"]).mean().round(5)
    return {method: {"accuracy": value} for method, value in accuracy.items()}


def readout_parts(seed: int) -> pd.DataFrame:
    """Gains of the readout's parts over the plain one, calibrated by the log-loss of the registrations as they are."""
    samples = samples_of(seed).of_this_month()
    births, active, c = samples.births(), samples.training, samples.inverse_penalty
    fitted = plain(samples, births)
    log_likelihood, anchor = training.tune_through_filter(active, births, fitted, c, training.Options(1))
    kinds = day_kinds(samples.features, log_likelihood.weights)
    table = activity.fit(activity.activity_of(active.months, len(births.tables)), samples.ages)

    def readouts(of: Examples, fitted: LogLikelihood, n_last: int) -> Readouts:
        return Readouts.of(of, fitted.of(of.matrix), last_months(of.months, n_last), births, kinds, table)

    parts = [(samples.validation, log_likelihood)]
    parts += training.cross_fitted(active, births, c, anchor, training.READOUT_USERS)
    held_out = Readouts.joined([readouts(*part, training.READOUT_MONTHS).scored() for part in parts])
    held_out = held_out.of_users(training.READOUT_USERS)
    of_grid = held_out.of_users(training.GRID_USERS)
    unaware, aware = (calibration.best_settings(of_grid, noise) for noise in (0.0, calibration.NOISE))
    noise = calibration.noise_of(held_out, aware)

    def cut(of: Readouts, with_terms: bool, with_activity: bool) -> Readouts:
        is_kept = np.isin(TERMS, TERMS if with_terms else ("constant", "log_active_months"))
        return replace(of, terms=np.where(is_kept, of.terms, 0.0), activity=of.activity * with_activity)

    def learned(with_bias: bool, *kept: bool) -> Callable[[Readouts], np.ndarray]:
        weights = calibration.fit(cut(held_out, *kept), aware, noise, with_bias)
        return lambda of: cut(of, *kept).probabilities(weights)

    def of_settings(settings: ReadoutSettings) -> Callable[[Readouts], np.ndarray]:
        return lambda of: of.probabilities(ReadoutWeights.plain(settings, len(samples.ages.bins)))

    changes = {
        "loss aware of wrong registrations": of_settings(aware),
        "the same, and a bias per age bin": learned(True, False, False),
        "the same, and the activity model": learned(False, False, True),
        "the same, and tau and delta by all terms": learned(False, True, False),
        "the same, and biases by all terms": learned(True, True, False),
        "all (the default)": learned(True, True, True),
    }
    test = readouts(samples.test, log_likelihood, samples.n_months)
    with with_truth(source_of(seed), warehouse_of(seed)) as connection:
        true_age = dict(connection.sql(queries("truth")["true ages"]).fetchall())
    age = np.array([true_age.get(user, -1000) for user in test.months.user]) - test.months.lag  # -1000: in no stage
    found = []
    for labels, months in {"truth": replace(test.months, age=age), "registrations": test.months}.items():
        scored = replace(test, months=months).scored()
        base, index, user = of_settings(unaware)(scored), (np.arange(len(scored)), scored.stage), scored.months.user
        for part, predict in changes.items():
            predicted = predict(scored)
            right = (predicted.argmax(axis=1) == scored.stage) * 1.0 - (base.argmax(axis=1) == scored.stage)
            gains = mean("accuracy", right, user)
            gains |= mean("log_loss", np.log(base[index]) - np.log(predicted[index]), user)
            gains["calibration_error"] = calibration_error(predicted, scored.stage)
            gains["plain_calibration_error"] = calibration_error(base, scored.stage)
            found.append({"part": part, "labels": labels, **gains})
    return pd.DataFrame(found)


def mean(name: str, values: np.ndarray, user: np.ndarray) -> dict[str, float]:
    """The mean and its standard error over users."""
    return {name: round(float(values.mean()), 5), f"{name}_error": round(error_of_mean(values, user), 5)}


def main() -> None:
    """Every change against the default, every method with fewer labels, the parts of the readout."""
    changes, few_labels, readout = differences(samples_of(SEEDS[0])), {}, []
    for n_users in LABEL_COUNTS:
        few_labels[f"{n_users:,}"] = with_few_labels(n_users)
        print(f"{n_users:,} training users:", few_labels[f"{n_users:,}"], flush=True)
    for seed in SEEDS:
        readout.append({"readout": readout_parts(seed).to_dict("split", index=False)})
        progress(f"readout, seed {seed} of {len(SEEDS)} done")
    keep("ablation", {"changes": changes, "few_labels": few_labels, "readout": readout})
    pages.write()


if __name__ == "__main__":
    main()
