"""Second-child filter: monthly posterior over pairs of birth months, and its readout given the first child.

Users are processed in batches of constant memory. The grid is in pair_cells.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa

from life_stage import on_spark, spark_users
from life_stage.birth_months import Ages, prior_by_tenure
from life_stage.pair_cells import PairCells
from life_stage.retraining import read_age_divisions

Relation = duckdb.DuckDBPyRelation
USERS_PER_BATCH = 20_000


@dataclass(frozen=True)
class Model:
    """Parameters of a trained model that this filter uses.

    Per age bin: average: share of all training months; initial_prior: share of users' first months; intercept: the
    log-likelihood of being active.
    """

    tau: float
    hazard: float
    average: np.ndarray
    initial_prior: np.ndarray
    intercept: np.ndarray


def update_month(
    session: duckdb.DuckDBPyConnection | on_spark.Session,
    *,
    posteriors: Relation,
    groups: Relation,
    coefficients: Relation,
    age_bins: Relation,
    stages: Relation,
    state: str,
    month: str,
    previous_month: str,
    model_version: str,
) -> pa.RecordBatchReader:
    """One row per user of birth_month_filter in the month: published columns and the carried state.

    posteriors: birth_month_filter; groups: group_log_likelihoods; state: name of the table of carried states; months:
    YYYY-MM-DD.
    """
    ages = read_age_divisions(age_bins, stages)
    cells, schema = PairCells(ages), schema_of(ages)
    if model_version == "none":
        return pa.RecordBatchReader.from_batches(schema, [])
    model = read_model(coefficients, ages, model_version)
    if isinstance(session, on_spark.Session):
        users = spark_users.groups_by_user(posteriors, groups, session.table(state), ages, month, previous_month)
        update = partial(batches, cells=cells, model=model, month=np.datetime64(month, "D"), schema=schema)
        return session.mapped(users, update, schema)
    users = users_of(session, posteriors, groups, session.sql(f"from {state}"), ages, month, previous_month)
    # A separate connection: a connection with an open result cannot write.
    rows = session.cursor().sql(users.sql_query()).to_arrow_reader(USERS_PER_BATCH)
    return pa.RecordBatchReader.from_batches(schema, batches(rows, cells, model, np.datetime64(month, "D"), schema))


def schema_of(ages: Ages) -> pa.Schema:
    """Schema of the rows of a month."""
    births = ("expected_birth_month", "earliest_birth_month", "latest_birth_month")
    return pa.schema(
        [("user_id", pa.string()), ("month", pa.date32()), ("log_odds", pa.float64())]
        + [(f"p_{stage}", pa.float64()) for stage in ages.stages]
        + [(name, pa.date32()) for name in births]
        + [("months_until_next_stage", pa.float64()), ("c_pairs", pa.binary())]
    )


def users_of(
    session: duckdb.DuckDBPyConnection,
    posteriors: Relation,
    groups: Relation,
    state: Relation,
    ages: Ages,
    month: str,
    previous_month: str,
) -> Relation:
    """Users with tenure, the first child's p_<stage>, carried sums and the log-likelihoods of the month's groups."""
    p = ", ".join(f"p_{stage}" for stage in ages.stages)
    tenure = f"datediff('month', first_month, date '{month}')"
    known = posteriors.filter(f"month = date '{month}'")
    known = known.project(f"user_id, {tenure} as tenure, {p}").set_alias("known")
    carried = state.filter(f"month = date '{previous_month}'").project("user_id, c_pairs").set_alias("carried")
    log_likelihood = ", ".join(f"ll_{age_bin}" for age_bin in ages.bins)
    acted = groups.filter(f"month = date '{month}'").aggregate(
        f"user_id, list([{log_likelihood}] order by category_group) as log_likelihood", "user_id"
    )
    joined = known.join(carried, "user_id", how="left").join(acted.set_alias("acted"), "user_id", how="left")
    return joined.project(f"user_id, tenure, {p}, c_pairs, log_likelihood")


def read_model(coefficients: Relation, ages: Ages, model_version: str) -> Model:
    """The model's parameters from stage_coefficients."""
    rows = coefficients.filter(f"model_version = '{model_version}'")
    by_bin = rows.filter("model_name = 'log_likelihood' and parameter_type in ('prior', 'initial_prior', 'intercept')")
    wide = (
        by_bin.project("parameter_type, age_bin, value")
        .df()
        .pivot(index="parameter_type", columns="age_bin", values="value")
    )
    settings = dict(rows.filter("parameter_type = 'setting'").project("feature, value").fetchall())
    values = (wide.loc[kind, list(ages.bins)].to_numpy(float) for kind in ("prior", "initial_prior", "intercept"))
    return Model(settings["tau"], settings["birth_hazard"], *values)


def batches(
    rows: pa.RecordBatchReader, cells: PairCells, model: Model, month: np.datetime64, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Prediction, update and readout of the month, in batches of users."""
    number = month.astype("datetime64[M]").astype(int) + 1970 * 12
    for users in rows:
        state = cells.aged(unpacked(users["c_pairs"], len(cells.pairs)), number)
        add_groups(state, users["log_likelihood"], cells, model, number)
        tenure = users["tenure"].to_numpy()
        prior = prior_by_tenure(cells.ages, model.initial_prior, model.hazard, int(tenure.max()) + 1)
        first_stage = np.stack([users[f"p_{stage}"].to_numpy() for stage in cells.ages.stages]).argmax(axis=0)
        second = second_child(state, cells.log_prior(prior, number), tenure, first_stage, cells, number)
        columns = [
            users["user_id"].cast(pa.string()),
            pa.array(np.full(len(users), month)),
            pa.array(second.log_odds),
            *(pa.array(share) for share in second.p_stages),
            *(pa.array((month.astype("datetime64[M]") - age).astype("datetime64[D]")) for age in second.age_quantiles),
            pa.array(second.months_left),
            packed(state),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def packed(state: np.ndarray) -> pa.Array:
    """The sums (pairs x users) in stored form: half precision, relative to the user's maximum.

    Packing is idempotent: unpacked and packed again, the bytes are the same.
    """
    relative = np.maximum(state - state.max(axis=0), -60_000)  # within the range of half precision
    halves = np.ascontiguousarray(relative.astype(np.float16).T)
    width = halves.shape[1] * halves.itemsize
    return pa.Array.from_buffers(pa.binary(width), len(halves), [None, pa.py_buffer(halves)]).cast(pa.binary())


def unpacked(carried: pa.BinaryArray, n_pairs: int) -> np.ndarray:
    """pairs x users; zeros for users without a carried state."""
    halves = np.zeros((len(carried), n_pairs), np.float16)
    known = np.frombuffer(b"".join(carried.drop_null().to_pylist()), np.float16)
    halves[carried.is_valid().to_numpy(zero_copy_only=False)] = known.reshape(-1, n_pairs)
    return np.ascontiguousarray(halves.T).astype(np.float32)


def add_groups(state: np.ndarray, lists: pa.ListArray, cells: PairCells, model: Model, month: int) -> None:
    """Add the month's log-likelihoods to the users' sums, in place."""
    n_groups = lists.value_lengths().fill_null(0).to_numpy()
    if n_groups.sum() == 0:
        return
    log_likelihood = lists.flatten().flatten().to_numpy().reshape(n_groups.sum(), -1)
    log_likelihood = log_likelihood + model.intercept / np.repeat(n_groups, n_groups)[:, None]
    active = np.flatnonzero(n_groups)
    merged = cells.merged(model.tau * log_likelihood, n_groups[active], model.average, month)
    for sums, increments in zip(state, merged, strict=True):
        sums[active] += increments


@dataclass(frozen=True)
class SecondChild:
    """Per user: log-odds of a second child in another stage than the first, and that child's posterior.

    log_odds, months_left: (users,); p_stages: stages x users; age_quantiles: (50 %, 90 %, 10 %) x users, in months
    """

    log_odds: np.ndarray
    p_stages: np.ndarray
    age_quantiles: np.ndarray
    months_left: np.ndarray


def second_child(
    state: np.ndarray, log_prior: np.ndarray, tenure: np.ndarray, first_stage: np.ndarray, cells: PairCells, month: int
) -> SecondChild:
    """Readout of the sums (pairs x users): the other of two children, one of whom is in the first child's stage.

    log_prior: pairs x tenures. Sums run row by row, so that a user's result does not depend on the batch: numpy's own
    sum of a single user's rows has another order.
    """
    ages, stages = cells.ages_at(month), range(len(cells.ages.stages))
    stage = np.concatenate([[-1], cells.ages.stage_of(ages), [-1]])[:, None]  # of each cell; -1: outside all stages
    pairs = zip(state, log_prior.astype(np.float32), strict=True)
    logits = np.stack([sums + prior[tenure] for sums, prior in pairs])
    peak = logits[cells.two].max(axis=0)
    two = np.exp(logits[cells.two] - peak)
    is_first = [first_stage == s for s in stages]
    sum_two, other = np.zeros(len(tenure)), np.zeros((len(stage), len(tenure)))
    for weight, (younger, older) in zip(two, cells.pairs[cells.two], strict=True):
        sum_two += weight
        for one, another in ((younger, older), (older, younger)):
            if stage[one] >= 0:
                other[another] += weight * is_first[stage[one, 0]]
    elsewhere = other * ((stage >= 0) & (stage != first_stage)) + 1e-300 * (stage >= 0)
    stage_mass = np.stack([sum(elsewhere[stage[:, 0] == s], np.zeros(len(tenure))) for s in stages])
    likeliest = stage_mass.argmax(axis=0)
    log_one = np.logaddexp.reduce(logits[cells.one], axis=0)
    log_odds = peak + np.log(sum_two) - log_one + np.log(stage_mass.max(axis=0) / (sum(other) + 1e-300))
    births = elsewhere[1:-1]
    cumulative = np.cumsum(births, axis=0)
    quantiles = np.stack([ages[(cumulative < share * cumulative[-1]).sum(axis=0)] for share in (0.5, 0.9, 0.1)])
    in_stage = births * (stage[1:-1] == likeliest)
    left = np.array(cells.ages.stage_edges[1:])[likeliest] - sum(in_stage * ages[:, None]) / sum(in_stage)
    return SecondChild(log_odds, stage_mass / sum(stage_mass), quantiles, left)
