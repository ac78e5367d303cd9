"""Household readout: does a household have a child in a stage this month, and is there a child at all?

    P(child in stage s) = (1 - P(no child)) * sigmoid(sum of term x weight)

One logistic regression per stage on families that registered, with all their registered children as labels. Presence
terms have weights of their own for each stage of the first child, the most probable one of birth_month_filter. The
share of shoppers without a child is estimated by EM on users without a registration (learning from positive and
unlabelled examples: Elkan and Noto, KDD 2008). The SQL is household_stages.sql.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd

from life_stage.training.regression import use_one_thread
from life_stage.training.retraining import division

MIN_FAMILIES = 300  # below them, the readout is the filter's own probability
MIN_POSITIVE = 20  # readings with a child in the stage below which the same holds for the stage
MAX_FAMILIES = 6_000
MAX_UNREGISTERED = 20_000
LAGS = (0, 2, 4)  # months before the newest one that a family is read at
LATE_LAG = 6  # months before the newest one in which children count that were registered later
INVERSE_PENALTY = 0.3
MAX_ITERATIONS = 2_000
EM_ITERATIONS = 200
CONTEXT = ("log_active_months", "tenure_months", "not_yet_expecting_probability")


def presence_terms(stages: tuple[str, ...]) -> list[str]:
    """Terms with weights by the stage of the first child."""
    return [f"presence_{name}" for name in (*stages, "not_yet", "aged_out")]


def terms_of(stages: tuple[str, ...]) -> list[str]:
    """All terms of the readout, in the order of the weights; logit_<stage> is the logit of share_<stage>."""
    return ["constant", *presence_terms(stages), *(f"logit_{name}" for name in stages), *CONTEXT]


def fit_new_models(*, assignments, models, terms, labels, stages, known) -> pd.DataFrame:
    """Rows of the models that are assigned to a month and have no weights yet, on months up to each model's newest.

    Relations: month_model_assignments, model_registry, household_terms, stage_labels, stages, household_weights.
    """
    names, edges = division(stages, "stage", "stage_no")
    used = {version for (version,) in assignments.project("model_version").distinct().fetchall()}
    fitted = {version for (version,) in known.project("model_version").distinct().fetchall()} if known else set()
    through = dict(models.project("model_version, trained_through").fetchall())
    frames = [empty(names)]
    for version in sorted(used - fitted):
        readings = read_families(terms, labels, through[version])
        unregistered = read_unregistered(terms, labels, through[version])
        late = registered_late(labels, through[version], edges)
        frames.append(weights_of(readings, unregistered, late, names, edges).assign(model_version=version))
    return pd.concat(frames[1:] or frames, ignore_index=True)[list(frames[0])]


def read_families(terms, labels, through: date) -> pd.DataFrame:
    """Terms of registered families that are not in the test set, at LAGS, with the ages of their children as a list."""
    months = ", ".join(f"date '{np.datetime64(through, 'M') - lag}-01'" for lag in LAGS)
    families = labels.filter(f"split <> 'test' and month = date '{through}'").project("user_id").distinct().df()
    families = np.sort(families["user_id"].to_numpy(str))
    if len(families) > MAX_FAMILIES:
        families = np.random.default_rng(0).choice(families, MAX_FAMILIES, replace=False)
    quoted = ", ".join("'" + user.replace("'", "''") + "'" for user in families) or "null"
    chosen = f"month in ({months}) and user_id in ({quoted})"
    children = labels.filter(chosen).project("user_id, month, age_months").df()
    ages = children.groupby(["user_id", "month"])["age_months"].agg(list).rename("ages").reset_index()
    found = terms.filter(chosen).df()
    return found.merge(ages, on=["user_id", "month"]).sort_values(["user_id", "month"], ignore_index=True)


def read_unregistered(terms, labels, through: date) -> np.ndarray:
    """no_child_log_ratio of users without a registration in the newest month."""
    registered = labels.project("user_id").distinct().df()["user_id"]
    found = terms.filter(f"month = date '{through}'").project("user_id, no_child_log_ratio").df()
    found = found[~found["user_id"].isin(registered)].sort_values("user_id")["no_child_log_ratio"].to_numpy()
    if len(found) > MAX_UNREGISTERED:
        found = np.random.default_rng(0).choice(found, MAX_UNREGISTERED, replace=False)
    return found


def registered_late(labels, through: date, edges: Sequence[int]) -> np.ndarray:
    """Share of the children in each stage that were registered only later, LATE_LAG months before the newest month."""
    month = np.datetime64(through, "M") - LATE_LAG
    children = labels.filter(f"split <> 'test' and month = date '{month}-01'").project("age_months, registered_at").df()
    label = labels_of([[age] for age in children["age_months"]], edges)
    is_late = (pd.to_datetime(children["registered_at"]) >= pd.Timestamp(month + 1)).to_numpy()
    return (label & is_late[:, None]).sum(axis=0) / np.maximum(label.sum(axis=0), 1)


def childless_share(log_ratio: np.ndarray) -> tuple[float, float]:
    """Share of users without a child, by EM, and its standard error; 0 without users.

    log_ratio: ln P(actions | no child) - ln P(actions | a child), one per user.
    """
    if not len(log_ratio):
        return 0.0, 0.0
    ratio = np.exp(np.clip(-log_ratio, -500, 500))
    share = 0.2
    for _ in range(EM_ITERATIONS):
        without_child = share / (share + (1 - share) * ratio)
        share = float(np.clip(without_child.mean(), 1e-6, 1 - 1e-6))
    information = ((without_child / share - (1 - without_child) / (1 - share)) ** 2).sum()
    return share, float(1 / np.sqrt(max(information, 1e-12)))


def design_of(readings: pd.DataFrame, stages: tuple[str, ...]) -> np.ndarray:
    """readings x terms_of(stages)."""
    share = np.clip(readings[[f"share_{name}" for name in stages]].to_numpy(float), 1e-6, 1 - 1e-6)
    presence = readings[presence_terms(stages)].to_numpy(float)
    context = readings[list(CONTEXT)].to_numpy(float)
    return np.column_stack([np.ones(len(readings)), presence, np.log(share / (1 - share)), context])


def labels_of(ages: Sequence[list[int]], edges: Sequence[int]) -> np.ndarray:
    """readings x stages: whether a registered child is in the stage; edges: ages at which stages begin, and the end."""
    found = np.zeros((len(ages), len(edges) - 1), bool)
    for row, of_family in enumerate(ages):
        stage = np.searchsorted(edges, of_family, side="right") - 1
        found[row, stage[(stage >= 0) & (stage < found.shape[1])]] = True
    return found


def readout_weights(
    design: np.ndarray, first: np.ndarray, label: np.ndarray, n_first: int, n_presence: int
) -> np.ndarray:
    """first stages x terms: weights of one stage's logistic regression, in the units of the design.

    first: index of the first child's stage per reading. The constant and the presence terms have weights per first
    stage, the others are shared.
    """
    from sklearn.linear_model import LogisticRegression  # takes over a second to load

    centre, spread = design.mean(axis=0), design.std(axis=0)
    centre[0], spread[0], spread[spread == 0] = 0.0, 1.0, 1.0
    scaled = (design - centre) / spread
    own, shared = scaled[:, : 1 + n_presence], scaled[:, 1 + n_presence :]
    of_first = (first[:, None] == np.arange(n_first))[:, :, None] * own[:, None, :]
    columns = np.hstack([own[:, 1:], shared, of_first.reshape(len(design), -1)])
    use_one_thread()
    regression = LogisticRegression(C=INVERSE_PENALTY, max_iter=MAX_ITERATIONS).fit(columns, label)
    coefficients = regression.coef_[0]
    by_first = coefficients[n_presence + shared.shape[1] :].reshape(n_first, 1 + n_presence).copy()
    by_first[:, 0] += regression.intercept_[0]
    by_first[:, 1:] += coefficients[:n_presence]
    shared_weights = np.tile(coefficients[n_presence : n_presence + shared.shape[1]], (n_first, 1))
    weights = np.hstack([by_first, shared_weights]) / spread
    weights[:, 0] -= weights[:, 1:] @ centre[1:]
    return weights


def weights_of(
    readings: pd.DataFrame, unregistered: np.ndarray, late: np.ndarray, stages: tuple[str, ...], edges: Sequence[int]
) -> pd.DataFrame:
    """The rows of one model, without its version."""
    terms, n_families = terms_of(stages), readings["user_id"].nunique()
    share, error = childless_share(unregistered)
    found = {
        "first_stage": list(stages),
        "n_families": n_families,
        "n_unregistered": len(unregistered),
        "childless_share": share,
        "childless_share_error": error,
        **{f"registered_late_{stage}": value for stage, value in zip(stages, late, strict=True)},
    }
    design, label = design_of(readings, stages), labels_of(readings["ages"], edges)
    first = readings["first_stage"].map(stages.index).to_numpy(int)
    for number, stage in enumerate(stages):
        weights = np.zeros((len(stages), len(terms)))
        weights[:, terms.index(f"logit_{stage}")] = 1.0
        n_positive = label[:, number].sum()
        if n_families >= MIN_FAMILIES and MIN_POSITIVE <= n_positive <= len(label) - MIN_POSITIVE:
            weights = readout_weights(design, first, label[:, number], len(stages), len(presence_terms(stages)))
        found |= {f"{stage}_{term}": weights[:, column] for column, term in enumerate(terms)}
    return pd.DataFrame(found)


def empty(stages: tuple[str, ...]) -> pd.DataFrame:
    """The columns and their types, without rows."""
    types = {"model_version": "string", "first_stage": "string", "n_families": "int64", "n_unregistered": "int64"}
    names = [f"{stage}_{term}" for stage in stages for term in terms_of(stages)]
    late = [f"registered_late_{stage}" for stage in stages]
    types |= dict.fromkeys(["childless_share", "childless_share_error", *late, *names], "float64")
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})
