"""Ablation study of the method and its robustness, one change at a time: make ablation

On 14,000 simulated users, 35 % of them test users, with the months and data of the project's own evaluation.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import results_page
from held_out import error_of_mean
from learning_quality import PUSH_DOWN_COUNTS
from measuring import WORK, build, demo_source, folder_of, keep
from scipy.sparse import csr_matrix, diags_array, hstack
from truth import ONLY_CHILDREN

from life_stage import activity, calibration, train_through_filter, training
from life_stage.birth_months import Ages, BirthMonths, Months, last_months
from life_stage.calibration import UNCALIBRATED, calibration_error
from life_stage.evaluation import predictions
from life_stage.evaluation_model import known_before, month_before, newest, of_this_month, train_evaluation_model_if_due
from life_stage.examples import Examples, examples_of, hazard_of, initial_prior_of
from life_stage.readout import TERMS, Readouts, ReadoutSettings, ReadoutWeights, day_kinds
from life_stage.regression import LogLikelihood
from life_stage.regularisation import choose_inverse_penalty
from life_stage.retraining import read_age_divisions

SUPPORT = 50
SEEDS = (1, 2, 3)  # warehouses of make experiment
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
    inverse_penalty: float = 0.0

    def changed(self, change: Callable[[Examples], Examples], *parts: str) -> "Samples":
        """A copy with changed examples of some parts."""
        return replace(self, **{part: change(getattr(self, part)) for part in parts})


def samples_of(warehouse: Path, matrix: dict[str, np.ndarray] | None = None) -> Samples:
    """The training tables as the evaluation uses them; matrix: instead of design_matrix."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        rows = connection.sql("from training_rows order by row_no").df()
        vocabulary = connection.sql("from training_vocabulary order by feature_id").df()
        matrix = matrix or connection.table("design_matrix").fetchnumpy()
        ages = read_age_divisions(connection.table("age_bins"), connection.table("stages"))
        first, last, n_months = connection.sql(
            "select min(month), max(month), count(*) from evaluation_window"
        ).fetchall()[0]
    past, past_matrix, known = known_before(rows, matrix, vocabulary, first, SUPPORT)
    before = examples_of(past, past_matrix, len(known), month_before(first))
    examples = examples_of(rows, matrix, len(vocabulary), last)
    scale = diags_array(vocabulary["scale"][known.index] / known["scale"])  # of the time before the window
    examples = replace(examples, matrix=csr_matrix(examples.matrix[:, known.index] @ scale))
    split, past_split = rows["split"].to_numpy(), past["split"].to_numpy()
    return Samples(
        before[past_split == "train"].plausible(ages),
        before[past_split == "validation"],
        examples[split == "test"],
        of_this_month(known),
        ages,
        n_months,
        list(known["feature"][of_this_month(known)]),
    )


@dataclass(frozen=True)
class Steps:
    """Variants of training and readout; the defaults are the project's."""

    log_likelihood: Callable[[Samples, BirthMonths], LogLikelihood] | None = None
    settings: ReadoutSettings | None = None
    last_year: bool = False
    history: int | None = None


def evaluate_default(samples: Samples, steps: Steps = Steps()) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correctness, log-loss and user of the predictions with the plain readout, one per evaluated user-month."""

    def used(examples: Examples) -> Examples:
        return examples if steps.last_year else examples.active(samples.this_month)

    train = used(samples.training)
    n_months = 1 + int(max(train.months.lag.max(), samples.test.months.lag.max()))
    births = BirthMonths(
        samples.ages, n_months, initial_prior_of(train.months, samples.ages), hazard_of(train.months, samples.ages)
    )
    log_likelihood = (steps.log_likelihood or plain)(replace(samples, training=train), births)
    validation = used(samples.validation)
    settings = steps.settings or training.plain_readout(validation, births, log_likelihood)
    test = used(samples.test)
    readouts = last_months(samples.test.months, samples.n_months)
    if steps.history:
        test = newest(test, steps.history)
        readouts = replace(readouts, tenure=np.minimum(readouts.tenure, steps.history - 1 - readouts.lag))
    scored = Readouts.plain(test, log_likelihood.of(test.matrix), readouts, births).scored()
    predicted = scored.probabilities(ReadoutWeights.plain(settings, len(samples.ages.bins)))
    probability = predicted[np.arange(len(predicted)), scored.stage]
    return predicted.argmax(axis=1) == scored.stage, -np.log(probability), scored.months.user


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


def in_stages(samples: Samples) -> Samples:
    """Six stages and the two outer bins instead of 20 bins."""
    ages = samples.ages
    edges = (ages.bin_edges[0], *ages.stage_edges, ages.bin_edges[-1])
    return replace(samples, ages=Ages(("not_yet", *ages.stages, "grown"), edges, ages.stages, ages.stage_edges))


def wrong_labels(share: float) -> Callable[[Examples], Examples]:
    """A share of additional users whose child's age is sampled from another user."""

    def change(examples: Examples) -> Examples:
        rng, months = np.random.default_rng(0), examples.months
        birth = months.age + months.lag
        users, first = np.unique(months.user, return_index=True)
        sampled = dict(zip(users, rng.permutation(birth[first]), strict=True))
        wrong = set(users[rng.random(len(users)) < share])
        age = [
            sampled[u] - lag if u in wrong else age
            for u, lag, age in zip(months.user, months.lag, months.age, strict=True)
        ]
        return replace(examples, months=Months(months.user, months.lag, np.array(age), months.tenure))

    return change


def fewer_users(n_users: int) -> Callable[[Examples], Examples]:
    """The first n_users users."""
    return lambda examples: examples[np.isin(examples.months.user, np.unique(examples.months.user)[:n_users])]


def thinned(share: float) -> Callable[[Examples], Examples]:
    """A share of the months removed, as if they were inactive, except each user's first one."""

    def change(examples: Examples) -> Examples:
        kept = np.random.default_rng(0).random(len(examples.months)) >= share
        kept[examples.months.first_of_users] = True
        return examples[kept]

    return change


def exchanged(share: float) -> Callable[[Examples], Examples]:
    """A share of the active months with the actions of another user."""

    def change(examples: Examples) -> Examples:
        rng = np.random.default_rng(0)
        source = np.arange(len(examples.months))
        moved = np.flatnonzero((rng.random(len(source)) < share) & examples.is_active)
        source[moved] = rng.permutation(moved)
        return replace(examples, matrix=examples.matrix[source])

    return change


def presence(examples: Examples) -> Examples:
    """Binary features instead of the number of days."""
    found = examples.matrix.copy()
    found.data = np.where(found.data > 0, np.log(2), found.data)
    return replace(examples, matrix=found)


def with_inactive_months(samples: Samples) -> Samples:
    """Inactive months as additional rows, marked by one feature."""

    def change(examples: Examples) -> Examples:
        all_months = last_months(examples.months, 1 + int(examples.months.lag.max()))
        keys = [months.user * 1000 - months.lag for months in (all_months, examples.months)]
        index = np.searchsorted(keys[0], keys[1])
        inactive = np.ones(len(all_months), bool)
        inactive[index[examples.is_active]] = False
        into = csr_matrix(
            (np.ones(len(index)), (index, np.arange(len(index)))), shape=(len(all_months), len(examples.months))
        )
        column = csr_matrix(inactive.astype(float)[:, None])
        matrix = hstack([into @ examples.matrix, column], format="csr")
        return Examples(all_months, matrix, np.ones(len(all_months), bool))

    changed = samples.changed(change, "training", "validation", "test")
    return replace(changed, this_month=np.append(samples.this_month, True))


def event_counts(warehouse: Path) -> dict[str, np.ndarray]:
    """ln(1 + events) instead of ln(1 + days), for the features of the month itself."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        found = connection.sql(PUSH_DOWN_COUNTS).fetchnumpy()
    return found | {"value": np.log1p(found["value"])}


def with_few_labels(warehouse: Path, n_users: int) -> dict[str, dict[str, float]]:
    """Accuracy of every method on the same test users, with n_users training and 0.3 n_users validation users."""
    limits = {"train": n_users, "validation": round(0.3 * n_users)}
    names = {"rows": "training_rows", "matrix": "design_matrix", "vocabulary": "training_vocabulary"}
    names |= {"age_bins": "age_bins", "stages": "stages", "registry": "stage_coefficients"}
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        tables = {name: connection.table(table) for name, table in names.items()}
        window = connection.table("evaluation_window")
        ranks = "select user_no, row_number() over (partition by split order by user_no) as user_rank"
        few = connection.sql(
            f"""with ranks as ({ranks} from (select distinct user_no, split from training_rows))
            select training_rows.* replace (
                case when user_rank > case split when 'train' then {limits["train"]}
                    when 'validation' then {limits["validation"]} else user_rank end
                then 'unused' else split end as split)
            from training_rows join ranks using (user_no)"""
        )
        options = {"min_training_users": 1, "min_feature_support": SUPPORT, "retrain_every_months": 0}
        model = train_evaluation_model_if_due(
            **(tables | {"rows": few}), window=window, known=None, options=options | {"filter_tuning": True}
        )
        predicted = predictions(
            **tables, window=window, coefficients=connection.from_arrow(model), options={"fusion_merge": "mean"}
        )
        truth = connection.sql("select user_id, month, true_stage from stage_predictions where method = 'prior'").df()
    stages = [column for column in predicted if column.startswith("p_")]
    predicted_stages = predicted.assign(stage=predicted[stages].idxmax(axis=1).str.removeprefix("p_")).merge(
        truth, on=["user_id", "month"]
    )
    found = {}
    for method, rows in predicted_stages.groupby("method"):
        user = rows["user_id"].astype("category").cat.codes.to_numpy()
        found[method] = difference("accuracy", (rows["stage"] == rows["true_stage"]).to_numpy(float), user)
    return found


def main() -> None:
    """Every change against the default, on the same user-months; every method with fewer labels."""
    source = demo_source("demo14", users=14_000, months=24, through="2017-02")
    warehouse = WORK / "experiment1.duckdb"
    if not warehouse.exists():
        warehouse = build(source, "experiment1", train_share=0.5, validation_share=0.15)
    samples = samples_of(warehouse)
    c = choose_inverse_penalty(samples.training.active(samples.this_month), samples.ages)
    samples = replace(samples, inverse_penalty=c)
    events = replace(samples_of(warehouse, event_counts(warehouse)), inverse_penalty=c)
    all_parts = ("training", "validation", "test")
    changes: dict[str, tuple[Samples, Steps]] = {
        "6 stages in place of 20 age bins": (in_stages(samples), Steps()),
        "end-to-end fine-tuning (step 2, anchor penalty 100)": (
            samples,
            Steps(log_likelihood=through_filter),
        ),
        "without prior correction: posteriors multiplied": (samples, Steps(log_likelihood=with_prior)),
        "without calibration": (samples, Steps(settings=UNCALIBRATED)),
        "events counted in place of days": (events, Steps()),
        "presence in place of days": (samples.changed(presence, *all_parts), Steps()),
        "log-likelihood of inactive months added": (with_inactive_months(samples), Steps()),
        "features of last year's month added": (samples, Steps(last_year=True)),
        **{f"history of {n} months": (samples, Steps(history=n)) for n in (6, 12, 18)},
        **{
            f"{n:,} training users": (samples.changed(fewer_users(n), "training"), Steps()) for n in (300, 1_000, 3_000)
        },
        **{
            f"{share:.0%} more wrong labels in training": (
                samples.changed(wrong_labels(share), "training", "validation"),
                Steps(),
            )
            for share in (0.1, 0.2)
        },
        **{
            f"{share:.0%} of the active months left out": (samples.changed(thinned(share), *all_parts), Steps())
            for share in (0.25, 0.5, 0.75)
        },
        **{
            f"{share:.0%} of the test users' months are somebody else's": (
                samples.changed(exchanged(share), "test"),
                Steps(),
            )
            for share in (0.1, 0.3)
        },
    }
    right, loss, user = evaluate_default(samples)
    print(f"the default: accuracy {100 * right.mean():.1f} %, log-loss {loss.mean():.3f}", flush=True)
    figures = {}
    for number, (name, (other, steps)) in enumerate(changes.items(), 1):
        other_right, other_loss, other_user = evaluate_default(other, steps)
        assert (other_user == user).all(), "the same user-months"
        figures[name] = {
            **difference("accuracy", other_right * 1.0 - right, user),
            **difference("log_loss", other_loss - loss, user),
        }
        row = figures[name]
        print(
            f"{name}: {100 * row['accuracy']:+.1f} ± {100 * row['accuracy_error']:.1f} points,",
            f"log-loss {row['log_loss']:+.3f}",
            flush=True,
        )
        print(f"  {number} of {len(changes)}", file=sys.stderr, flush=True)
    few_labels = {}
    for n_users in LABEL_COUNTS:
        few_labels[f"{n_users:,}"] = with_few_labels(warehouse, n_users)
        print(
            f"{n_users:,} training users:",
            {m: round(100 * row["accuracy"], 1) for m, row in few_labels[f"{n_users:,}"].items()},
        )
    readout = []
    for seed in SEEDS:
        readout.append(readout_parts(seed))
        print(f"  readout, seed {seed} of {len(SEEDS)} done", file=sys.stderr, flush=True)
    default = {"accuracy": float(right.mean()), "log_loss": float(loss.mean())}
    keep("ablation", {"default": default, "changes": figures, "few labels": few_labels, "readout": readout})
    results_page.write()


def readout_parts(seed: int) -> dict[str, dict[str, float]]:
    """Gains of the readout's parts, each alone and together, over the plain readout, on the truth and on registrations.

    The plain readout is calibrated by the log-loss of the registrations as they are.
    """
    warehouse = WORK / f"experiment{seed}.duckdb"
    samples = samples_of(warehouse)
    active, validation = (of.active(samples.this_month) for of in (samples.training, samples.validation))
    c = choose_inverse_penalty(active, samples.ages)
    n_months = 1 + int(max(active.months.lag.max(), samples.test.months.lag.max()))
    births = BirthMonths(
        samples.ages, n_months, initial_prior_of(active.months, samples.ages), hazard_of(active.months, samples.ages)
    )
    first = training.fit(active, samples.ages, c)
    log_likelihood, anchor = training.tune_through_filter(active, births, first, c, training.Options(1))
    kinds = day_kinds(samples.features, log_likelihood.weights)
    table = activity.fit(activity.activity_of(active.months, n_months), samples.ages)

    def readouts(of: Examples, fitted: LogLikelihood, n_last: int) -> Readouts:
        return Readouts.of(of, fitted.of(of.matrix), last_months(of.months, n_last), births, kinds, table)

    parts = [(validation, log_likelihood), *training.cross_fitted(active, births, c, anchor, training.READOUT_USERS)]
    held_out = Readouts.joined([readouts(*part, training.READOUT_MONTHS).scored() for part in parts])
    held_out = held_out.of_users(training.READOUT_USERS)
    test = readouts(samples.test.active(samples.this_month), log_likelihood, samples.n_months)
    plain, aware = (
        calibration.best_settings(held_out.of_users(training.GRID_USERS), noise) for noise in (0.0, calibration.NOISE)
    )
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
    month_of_birth = true_ages(seed, warehouse)
    age = np.array([month_of_birth.get(user, -1000) for user in test.months.user]) - test.months.lag
    found = {name: {} for name in changes}
    for labels, of in {"truth": replace(test, months=replace(test.months, age=age)), "registrations": test}.items():
        scored = of.scored()
        base, index, user = of_settings(plain)(scored), (np.arange(len(scored)), scored.stage), scored.months.user
        for name, predict in changes.items():
            predicted = predict(scored)
            right = (predicted.argmax(axis=1) == scored.stage) * 1.0 - (base.argmax(axis=1) == scored.stage)
            found[name][labels] = {
                **difference("accuracy", right, user),
                **difference("log_loss", np.log(base[index]) - np.log(predicted[index]), user),
                "calibration_error": calibration_error(predicted, scored.stage),
                "plain_calibration_error": calibration_error(base, scored.stage),
            }
    return found


def true_ages(seed: int, warehouse: Path) -> dict[int, int]:
    """Age in the newest month of the true only child, by user_no."""
    source = folder_of("demo14" if seed == 1 else f"demo14_{seed}")
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        connection.execute(ONLY_CHILDREN.format(source=source))
        rows = connection.sql(
            """select distinct user_no, datediff('month', birth_date, (select max(month) from evaluation_window))
            from training_rows join only_children using (user_id)"""
        ).fetchall()
    return dict(rows)


def difference(name: str, values: np.ndarray, user: np.ndarray) -> dict[str, float]:
    """The mean and its standard error over users."""
    return {name: round(float(values.mean()), 5), f"{name}_error": round(error_of_mean(values, user), 5)}


if __name__ == "__main__":
    main()
