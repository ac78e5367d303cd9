"""Benefit of each training step, on held-out simulated users: python bench/learning_quality.py.

Every user-month from a user's first on counts, quiet ones included; the truth is what was registered, some of it wrong.
"""

import duckdb
import numpy as np
import pandas as pd
from held_out import Learning, Scores, evaluated, learning_of
from measuring import build, demo_source, keep
from scipy.sparse import csr_matrix, diags
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from life_stage import train_through_filter, training
from life_stage.birth_months import BirthMonths
from life_stage.calibration import UNCALIBRATED, ReadoutSettings
from life_stage.examples import Examples, hazard_of, initial_prior_of
from life_stage.regression import LogLikelihood
from life_stage.regularisation import ANCHOR_INVERSE_PENALTIES

C = 0.1  # what cross-validation chooses on these data
N_LABELS = (300, 1_000, 3_500)
# Distinct (day, action, item) rows that carry a feature, the count that push-down works with.
PUSH_DOWN_COUNTS = """
    with met as (select distinct user_id, month, acted_on, action, item_id, search_term from stg_actions),
    carried as (
        select user_id, month, feature from met join item_features using (item_id)
        union all
        select user_id, month, concat(feature, ':', action) from met join item_features using (item_id)
        where action <> 'click'
        union all
        select user_id, month, feature from met join search_term_features using (search_term)
    )
    select row_no, feature_id, cast(count(*) as double) as value
    from carried join training_rows using (user_id, month) join training_vocabulary using (feature)
    group by row_no, feature_id
"""


def births_of(learning: Learning) -> BirthMonths:
    """The filter with the prior of the training users."""
    months, ages = learning.active("train").months, learning.ages
    return BirthMonths(
        ages, learning.examples.months.lag.max() + 1, initial_prior_of(months, ages), hazard_of(months, ages)
    )


def calibrated(learning: Learning, births: BirthMonths, log_likelihood: LogLikelihood, name: str) -> Scores:
    """ReadoutSettings from validation users, scores on test users; prints both."""
    settings, _ = training.calibrate(learning.active("validation"), births, log_likelihood)
    scores, error = evaluated(log_likelihood, births, settings, learning.active("test"))
    chosen = f"tau {settings.tau:g} gamma {settings.gamma:g} delta {settings.delta:g}"
    print(f"  {name:26} {scores.text()}, calibration error {error:.3f}  ({chosen})", flush=True)
    return scores


def against_scikit_learn(learning: Learning, warehouse: str) -> dict:
    """stage_scores beside scikit-learn's own fit and predict_proba on the same rows: months with something to say."""
    split, age_bin = learning.split, learning.ages.bin_of(learning.examples.months.age)
    learn, objective = (split == "train") & (age_bin >= 0), split == "test"
    fitted = LogisticRegression(C=C, max_iter=3_000)
    with threadpool_limits(1):
        fitted.fit(learning.examples.matrix[learn], age_bin[learn])
    theirs = np.zeros((objective.sum(), len(learning.ages.bins)))
    theirs[:, fitted.classes_] = fitted.predict_proba(learning.examples.matrix[objective])
    columns = ", ".join(f"bin_{name}" for name in learning.ages.bins)
    with duckdb.connect(warehouse, read_only=True) as connection:
        ours = connection.sql(
            f"""select {columns} from training_rows join stage_scores using (user_id, month)
            where split = 'test' order by row_no"""
        ).fetchnumpy()
    ours = np.stack(list(ours.values()), axis=1)
    stage_of_bin = learning.ages.stage_of(np.array(learning.ages.bin_edges[:-1]))
    stage = learning.ages.stage_of(learning.examples.months.age[objective])
    found = {}
    for name, predicted in (("stage_scores", ours), ("scikit-learn", theirs)):
        of_stages = np.stack(
            [predicted[:, stage_of_bin == s].sum(axis=1) for s in range(len(learning.ages.stages))], axis=1
        )
        found[name] = float(100 * (of_stages.argmax(axis=1) == stage)[stage >= 0].mean())
        print(f"  {name:26} accuracy {found[name]:.1f} % of {(stage >= 0).sum():,} user-months")
    return found


def push_down(learning: Learning, warehouse: str) -> Learning:
    """The same learning with events / sqrt(all events) instead of ln(1 + days)."""
    with duckdb.connect(warehouse, read_only=True) as connection:
        cells = connection.sql(PUSH_DOWN_COUNTS).fetchnumpy()
    places = (cells["row_no"] - 1, cells["feature_id"] - 1)
    counts = csr_matrix((cells["value"], places), shape=learning.examples.matrix.shape)
    scale = diags(1 / np.sqrt(np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)))
    examples = Examples(learning.examples.months, csr_matrix(scale @ counts), learning.examples.is_active)
    return Learning(learning.rows, cells, learning.vocabulary, learning.ages, learning.through, examples)


def with_few_labels(learning: Learning, n_users: int) -> tuple[Scores, ReadoutSettings]:
    """Full training on n_users training users and an eighth as many validation users, evaluated on test users."""
    users = {split: np.unique(learning.rows["user_no"][learning.split == split]) for split in ("train", "validation")}
    drawn = {split: np.random.default_rng(1).permutation(known) for split, known in users.items()}
    known = np.concatenate([drawn["train"][:n_users], drawn["validation"][: n_users // 8]])
    rows = learning.rows[learning.rows["user_no"].isin(known)]
    of_rows = np.isin(learning.matrix["row_no"], rows["row_no"])
    of_training = np.isin(learning.matrix["row_no"], rows["row_no"][rows["split"] == "train"])
    support = np.bincount(learning.matrix["feature_id"][of_training], minlength=len(learning.vocabulary) + 1)[1:]
    kept = learning.vocabulary[support >= 50]
    number = pd.Series(np.arange(1, len(kept) + 1), index=kept["feature_id"])
    of_rows &= np.isin(learning.matrix["feature_id"], kept["feature_id"])
    matrix = {name: column[of_rows] for name, column in learning.matrix.items()}
    matrix["row_no"] = np.searchsorted(rows["row_no"], matrix["row_no"]) + 1
    matrix["feature_id"] = number[matrix["feature_id"]].to_numpy()
    numbered = rows.assign(row_no=np.arange(1, len(rows) + 1))
    model = training.train(
        numbered,
        matrix,
        kept.assign(feature_id=number.to_numpy()),
        learning.ages,
        learning.through,
        training.Options(1),
    )
    return read_back(learning, model, kept)


def read_back(learning: Learning, model: pd.DataFrame, vocabulary: pd.DataFrame) -> tuple[Scores, ReadoutSettings]:
    """CalibrationObjective a model from its rows, as SQL would."""
    bins = list(learning.ages.bins)
    log_likelihood = model[model["model_name"] == "log_likelihood"]
    wide = log_likelihood.pivot(index=["parameter_type", "feature"], columns="age_bin", values="value")
    weights = np.zeros((learning.this_month.sum(), len(bins)))
    this_month = learning.vocabulary["feature"][learning.this_month]
    known = wide.loc["coefficient"][bins]
    weights[pd.Index(this_month).get_indexer(known.index)] = known.to_numpy()
    settings = model[model["parameter_type"] == "setting"].set_index("feature")["value"]
    start = wide.loc[("initial_prior", "")][bins].to_numpy()
    births = BirthMonths(learning.ages, learning.examples.months.lag.max() + 1, start, settings["birth_hazard"])
    predicted = LogLikelihood(weights, wide.loc[("intercept", "")][bins].to_numpy(), start, 0)
    readout = ReadoutSettings(settings["tau"], settings["gamma"], settings["delta"])
    return evaluated(predicted, births, readout, learning.active("test"))[0], readout


def main() -> None:
    """Print every comparison."""
    warehouse = build(demo_source("demo14", users=14_000, months=24, through="2017-02"), "demo14")
    learning = learning_of(warehouse)
    births, active = births_of(learning), learning.active("train")
    print(f"Simulated: {active.n_users:,} training users, {learning.active('test').n_users:,} test users, 24 months")
    print("The memory-less regression:")
    figures = {"memory_less": against_scikit_learn(learning, str(warehouse))}

    print("Step 1, the regression, and step 2, training on through the filter; each calibrated on validation users:")
    plain = training.fit(active, learning.ages, C)
    first = calibrated(learning, births, plain, "step 1")
    uncalibrated, error = evaluated(plain, births, UNCALIBRATED, learning.active("test"))
    print(f"  {'step 1, not calibrated':26} {uncalibrated.text()}, calibration error {error:.3f}")
    for anchor_inverse_penalty in ANCHOR_INVERSE_PENALTIES:
        tuned = train_through_filter.fine_tune(active.matrix, active.months, births, plain, anchor_inverse_penalty)
        scores = calibrated(
            learning, births, tuned, f"step 2, anchor_inverse_penalty 1/{1 / anchor_inverse_penalty:.0f}"
        )
        figures[f"step 2, anchor penalty {1 / anchor_inverse_penalty:.0f}, against step 1"] = scores.against(first)
        print(f"  {'':26} against step 1: {scores.against(first)}", flush=True)

    print("Two ways to count, step 1 alone:")
    for strength in (C, 3 * C):
        counted = push_down(learning, str(warehouse))
        fitted = training.fit(counted.active("train"), learning.ages, strength)
        scores = calibrated(counted, births, fitted, f"push-down, C {strength:g}")
        figures[f"push-down, C {strength:g}, against days"] = scores.against(first)
        print(f"  {'':26} against days: {scores.against(first)}", flush=True)

    print("Few labels, the whole of training:")
    for n_users in (*N_LABELS, active.n_users):
        scores, settings = with_few_labels(learning, n_users)
        figures[f"{n_users} training users"] = scores.text()
        chosen = f"tau {settings.tau:g} gamma {settings.gamma:g} delta {settings.delta:g}"
        print(f"  {n_users:,} training users: {scores.text()}  ({chosen})", flush=True)
    keep("learning_quality", figures)


if __name__ == "__main__":
    main()
