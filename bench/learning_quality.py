"""Benefit of each training step, on held-out simulated users: python bench/learning_quality.py.

Scored on every user-month from a user's first on, including inactive ones. The labels are registrations, some of which
are wrong.
"""

import duckdb
import numpy as np
import pandas as pd
from held_out import Scores, TrainingData, evaluated, training_data_of
from measuring import build, demo_source, keep
from scipy.sparse import csr_matrix, diags
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from life_stage import activity, train_through_filter, training
from life_stage.birth_months import BirthMonths
from life_stage.calibration import UNCALIBRATED
from life_stage.evaluation_model import known_before, month_after
from life_stage.examples import Examples, examples_of, hazard_of, initial_prior_of
from life_stage.model_rows import read_readout
from life_stage.readout import ReadoutWeights, day_kinds
from life_stage.regression import LogLikelihood
from life_stage.regularisation import ANCHOR_INVERSE_PENALTIES
from life_stage.scoring import LAST_YEAR

C = 0.1  # the choice of cross-validation on these data
N_LABELS = (300, 1_000, 3_500)
MODEL_AGES = (0, 1, 3, 6)  # months
# Distinct (day, action, item) rows with a feature, the counts of the push-down method.
PUSH_DOWN_COUNTS = """
    with observed as (select distinct user_id, month, acted_on, action, item_id, search_term from stg_actions),
    carried as (
        select user_id, month, feature from observed join item_features using (item_id)
        union all
        select user_id, month, concat(feature, ':', action) from observed join item_features using (item_id)
        where action <> 'click'
        union all
        select user_id, month, feature from observed join search_term_features using (search_term)
    )
    select row_no, feature_id, cast(count(*) as double) as value
    from carried join training_rows using (user_id, month) join training_vocabulary using (feature)
    group by row_no, feature_id
"""


def births_of(data: TrainingData) -> BirthMonths:
    """The filter with the prior of the training users."""
    months, ages = data.active("train").months, data.ages
    return BirthMonths(
        ages, data.examples.months.lag.max() + 1, initial_prior_of(months, ages), hazard_of(months, ages)
    )


def calibrated(data: TrainingData, births: BirthMonths, log_likelihood: LogLikelihood, name: str) -> Scores:
    """Scores on test users, with the readout calibrated on validation users; prints both."""
    kinds, table = readout_inputs(data, births, log_likelihood)
    found = training.calibrate([(data.active("validation"), log_likelihood)], births, kinds, table)
    weights = found.weights or ReadoutWeights.plain(found.settings, len(data.ages.bins))
    scores, error = evaluated(log_likelihood, births, weights, data.active("test"), kinds, table)
    print(f"  {name:26} {scores.text()}, calibration error {error:.3f}", flush=True)
    return scores


def readout_inputs(data: TrainingData, births: BirthMonths, log_likelihood: LogLikelihood) -> tuple:
    """The kinds of days and the activity model of the training users."""
    acted = activity.activity_of(data.active("train").months, len(births.tables))
    features = list(data.vocabulary["feature"][data.this_month])
    return day_kinds(features, log_likelihood.weights), activity.fit(acted, data.ages)


def against_scikit_learn(data: TrainingData, warehouse: str) -> dict:
    """Accuracy of stage_scores and of scikit-learn's own fit and predict_proba, on the same rows with features."""
    split, age_bin = data.split, data.ages.bin_of(data.examples.months.age)
    train, test = (split == "train") & (age_bin >= 0), split == "test"
    fitted = LogisticRegression(C=C, max_iter=3_000)
    with threadpool_limits(1):
        fitted.fit(data.examples.matrix[train], age_bin[train])
    theirs = np.zeros((test.sum(), len(data.ages.bins)))
    theirs[:, fitted.classes_] = fitted.predict_proba(data.examples.matrix[test])
    columns = ", ".join(f"bin_{name}" for name in data.ages.bins)
    with duckdb.connect(warehouse, read_only=True) as connection:
        ours = connection.sql(
            f"""select {columns} from training_rows join stage_scores using (user_id, month)
            where split = 'test' order by row_no"""
        ).fetchnumpy()
    ours = np.stack(list(ours.values()), axis=1)
    stage_of_bin = data.ages.stage_of(np.array(data.ages.bin_edges[:-1]))
    stage = data.ages.stage_of(data.examples.months.age[test])
    found = {}
    for name, predicted in (("stage_scores", ours), ("scikit-learn", theirs)):
        masses = [predicted[:, stage_of_bin == s].sum(axis=1) for s in range(len(data.ages.stages))]
        found[name] = float(100 * (np.stack(masses, axis=1).argmax(axis=1) == stage)[stage >= 0].mean())
        print(f"  {name:26} accuracy {found[name]:.1f} % of {(stage >= 0).sum():,} user-months")
    return found


def push_down(data: TrainingData, warehouse: str) -> TrainingData:
    """The same data with events / sqrt(all events) instead of ln(1 + days)."""
    with duckdb.connect(warehouse, read_only=True) as connection:
        entries = connection.sql(PUSH_DOWN_COUNTS).fetchnumpy()
    indices = (entries["row_no"] - 1, entries["feature_id"] - 1)
    counts = csr_matrix((entries["value"], indices), shape=data.examples.matrix.shape)
    scale = diags(1 / np.sqrt(np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)))
    examples = Examples(data.examples.months, csr_matrix(scale @ counts), data.examples.is_active)
    return TrainingData(data.rows, entries, data.vocabulary, data.ages, data.through, examples)


def with_few_labels(data: TrainingData, n_users: int) -> Scores:
    """Full training on n_users training users and an eighth as many validation users, evaluated on test users."""
    users = {split: np.unique(data.rows["user_no"][data.split == split]) for split in ("train", "validation")}
    sampled = {split: np.random.default_rng(1).permutation(known) for split, known in users.items()}
    known = np.concatenate([sampled["train"][:n_users], sampled["validation"][: n_users // 8]])
    rows = data.rows[data.rows["user_no"].isin(known)]
    is_used = np.isin(data.matrix["row_no"], rows["row_no"])
    is_training = np.isin(data.matrix["row_no"], rows["row_no"][rows["split"] == "train"])
    support = np.bincount(data.matrix["feature_id"][is_training], minlength=len(data.vocabulary) + 1)[1:]
    kept = data.vocabulary[support >= 50]
    number = pd.Series(np.arange(1, len(kept) + 1), index=kept["feature_id"])
    is_used &= np.isin(data.matrix["feature_id"], kept["feature_id"])
    matrix = {name: column[is_used] for name, column in data.matrix.items()}
    matrix["row_no"] = np.searchsorted(rows["row_no"], matrix["row_no"]) + 1
    matrix["feature_id"] = number[matrix["feature_id"]].to_numpy()
    model = training.train(
        rows.assign(row_no=np.arange(1, len(rows) + 1)),
        matrix,
        kept.assign(feature_id=number.to_numpy()),
        data.ages,
        data.through,
        training.Options(1),
    )
    return read_back(data, model)


def read_back(data: TrainingData, model: pd.DataFrame) -> Scores:
    """Scores of a model, read from its rows as SQL does."""
    bins = list(data.ages.bins)
    log_likelihood = model[model["model_name"] == "log_likelihood"]
    wide = log_likelihood.pivot(index=["parameter_type", "feature"], columns="age_bin", values="value")
    weights = np.zeros((data.this_month.sum(), len(bins)))
    this_month = data.vocabulary["feature"][data.this_month]
    known = wide.loc["coefficient"][bins]
    weights[pd.Index(this_month).get_indexer(known.index)] = known.to_numpy()
    settings = model[model["parameter_type"] == "setting"].set_index("feature")["value"]
    prior = wide.loc[("initial_prior", "")][bins].to_numpy()
    births = BirthMonths(data.ages, data.examples.months.lag.max() + 1, prior, settings["birth_hazard"])
    fitted = LogLikelihood(weights, wide.loc[("intercept", "")][bins].to_numpy(), prior, 0)
    readout, table = read_readout(model, data.ages)
    kinds = day_kinds(list(this_month), weights)
    return evaluated(fitted, births, readout, data.active("test"), kinds, table)[0]


def by_age_of_model(data: TrainingData) -> dict[int, Scores]:
    """Scores of the newest month, by models trained through so many months before it, as they were known then."""
    found = {}
    for age in MODEL_AGES:
        through = (np.datetime64(data.through, "M") - age).astype("datetime64[D]").item()
        known = known_before(data.rows, data.matrix, data.vocabulary, month_after(through), 50)
        options = training.Options(1, inverse_penalty=C, anchor_inverse_penalty=0.0)
        found[age] = read_back(data, training.train(*known, data.ages, through, options)).newest()
    return found


def with_drift(data: TrainingData, n_months: int = 3) -> TrainingData:
    """The same data with other names for 30 % of the features in the newest months, as after a change of categories."""
    lag, row, feature = data.examples.months.lag, data.matrix["row_no"] - 1, data.matrix["feature_id"]
    changed = np.random.default_rng(0).random(len(data.vocabulary) + 1) < 0.3
    renamed = np.flatnonzero(changed[1:]) + 1
    number = np.zeros(len(changed), feature.dtype)
    number[renamed] = len(data.vocabulary) + np.arange(1, len(renamed) + 1)
    new_id = np.where(changed[feature] & (lag[row] < n_months), number[feature], feature)
    new = data.vocabulary.iloc[renamed - 1].assign(feature_id=number[renamed])
    new["feature"] = [f"{LAST_YEAR if name.startswith(LAST_YEAR) else ''}renamed {name}" for name in new["feature"]]
    vocabulary, matrix = pd.concat([data.vocabulary, new], ignore_index=True), data.matrix | {"feature_id": new_id}
    examples = examples_of(data.rows, matrix, len(vocabulary), data.through)
    return TrainingData(data.rows, matrix, vocabulary, data.ages, data.through, examples)


def main() -> None:
    """Print every comparison."""
    warehouse = build(demo_source("demo14", users=14_000, months=24, through="2017-02"), "demo14")
    data = training_data_of(warehouse)
    births, active = births_of(data), data.active("train")
    print(f"Simulated: {active.n_users:,} training users, {data.active('test').n_users:,} test users, 24 months")
    print("Stateless baseline:")
    figures = {"memory_less": against_scikit_learn(data, str(warehouse))}

    print("Step 1, the regression, and step 2, fine-tuning through the filter; each calibrated on validation users:")
    plain = training.fit(active, data.ages, C)
    first = calibrated(data, births, plain, "step 1")
    as_is = ReadoutWeights.plain(UNCALIBRATED, len(data.ages.bins))
    uncalibrated, error = evaluated(plain, births, as_is, data.active("test"), *readout_inputs(data, births, plain))
    print(f"  {'step 1, not calibrated':26} {uncalibrated.text()}, calibration error {error:.3f}")
    for anchor_inverse_penalty in ANCHOR_INVERSE_PENALTIES:
        tuned = train_through_filter.fine_tune(active.matrix, active.months, births, plain, anchor_inverse_penalty)
        scores = calibrated(data, births, tuned, f"step 2, anchor_inverse_penalty 1/{1 / anchor_inverse_penalty:.0f}")
        figures[f"step 2, anchor penalty {1 / anchor_inverse_penalty:.0f}, against step 1"] = scores.against(first)
        print(f"  {'':26} against step 1: {scores.against(first)}", flush=True)

    print("Event counts (push-down) instead of active days, step 1 alone:")
    for strength in (C, 3 * C):
        counted = push_down(data, str(warehouse))
        fitted = training.fit(counted.active("train"), data.ages, strength)
        scores = calibrated(counted, births, fitted, f"push-down, C {strength:g}")
        figures[f"push-down, C {strength:g}, against days"] = scores.against(first)
        print(f"  {'':26} against days: {scores.against(first)}", flush=True)

    print("Models of other ages, in the newest month:")
    for name, changed in {
        "as it is": data,
        "30 % of the features renamed three months before": with_drift(data),
    }.items():
        scores = by_age_of_model(changed)
        print(f"  {name}, trained through the newest month: {scores[0].text()}", flush=True)
        for age in MODEL_AGES[1:]:
            figures[f"model {age} months old, {name}, against a new one"] = scores[age].against(scores[0])
            print(f"    {age} months before, against it: {scores[age].against(scores[0])}", flush=True)

    print("Few labels, full training:")
    for n_users in (*N_LABELS, active.n_users):
        scores = with_few_labels(data, n_users)
        figures[f"{n_users} training users"] = scores.text()
        print(f"  {n_users:,} training users: {scores.text()}", flush=True)
    keep("learning_quality", figures)


if __name__ == "__main__":
    main()
