"""The arithmetic of a pass over batches of users against a plain restatement for one user, on random small inputs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from filter_oracle import Divisions, Readout, log_likelihood_at, prior_after, published_row
from hypothesis import given, settings
from hypothesis import strategies as st

from life_stage.filtering import birth_month_pass, presence_pass
from life_stage.filtering.birth_months import Ages
from life_stage.filtering.filter_pass import check
from life_stage.filtering.pass_grid import Month

BIN_EDGES = (-8, -3, 0, 2, 5, 9, 14)
BINS = ("not_yet", "m3", "0", "2", "5", "grown")
STAGES, STAGE_EDGES = ("pregnancy", "baby", "toddler"), (-3, 0, 5, 9)
AGES = Ages(BINS, BIN_EDGES, STAGES, STAGE_EDGES)
DIVISIONS = Divisions(
    list(zip(BINS, BIN_EDGES, BIN_EDGES[1:], strict=False)),
    list(zip(STAGES, STAGE_EDGES, STAGE_EDGES[1:], strict=False)),
)
POINTS = ["not_yet", "m3", "m2", "m1", *map(str, range(14)), "graduated"]
DAYS = ["days", "unspecific_days", "purchase_days"]
SORTED = [("month", "ascending"), ("user_id", "ascending")]
N_MONTHS = 7
FIRST = 12 * 45 + 9  # October 2015: a December in between
VERSIONS = ["v1"] * 3 + ["v2"] * 4
HISTORIES = st.lists(
    st.dictionaries(
        st.integers(0, N_MONTHS - 1), st.lists(st.integers(-40, 40), min_size=9, max_size=9), min_size=1, max_size=5
    ),
    min_size=1,
    max_size=5,
)


def months(since: int = 0) -> list[Month]:
    return [
        Month(FIRST + n, VERSIONS[n], is_published=True, is_stored=n in (2, N_MONTHS - 1))
        for n in range(since, N_MONTHS)
    ]


def date_of(month: int) -> str:
    return f"{np.datetime64(FIRST + month, 'M')}-01"


@dataclass(frozen=True)
class RandomModel:
    """A model with random weights, as the oracle reads it and as rows of the tables that a pass reads."""

    version: str
    readout: Readout
    shares: np.ndarray

    @classmethod
    def of(cls, version: str) -> "RandomModel":
        random = np.random.default_rng(len(version) + int(version[1]))
        settings_of = {"tau": 1.1, "gamma": 0.1, "delta": 0.03, "birth_hazard": 0.05}
        rows = [["setting", name, "", value] for name, value in settings_of.items()]
        rows += [["activity_weight", "", "", 0.7]]
        rows += [["log_tau", term, "", random.normal(0, 0.2)] for term in Readout.TERMS]
        rows += [["logit_delta", term, "", random.normal(-1, 0.5)] for term in Readout.TERMS]
        rows += [["bias", term, name, random.normal(0, 0.5)] for term in Readout.TERMS for name in BINS[1:-1]]
        bands = [f"{stage} {band}" for stage in STAGES for band in range(4)]
        rows += [["interval_level", band, "", random.uniform(0.1, 0.49)] for band in bands]
        scale = 0.0 if version == "v1" else 0.5  # the oracle has one activity model
        rows += [["activity", str(code), name, scale * random.normal()] for code in range(40) for name in BINS]
        frame = pd.DataFrame(rows, columns=["parameter_type", "feature", "age_bin", "value"])
        return cls(version, Readout(frame, DIVISIONS), random.dirichlet(np.ones(len(BINS))))

    def weights(self) -> dict:
        found = {"model_version": self.version, "activity_weight": self.readout.kappa}
        for term in Readout.TERMS:
            found |= {
                f"log_tau_{term}": self.readout.log_tau[term],
                f"logit_delta_{term}": self.readout.logit_delta[term],
            }
            found |= {f"bias_{name}_{term}": self.readout.bias[term, name] for name in BINS}
        return found | {f"level_{band.replace(' ', '_')}": value for band, value in self.readout.level.items()}

    def priors(self) -> list[dict]:
        found = []
        for tenure in range(N_MONTHS):
            prior = prior_after(tenure, self.shares, self.readout.hazard, DIVISIONS)
            ages = np.arange(AGES.first, AGES.last + 1)
            row = {"model_version": self.version, "tenure_months": tenure, "prior_not_yet": prior[0]}
            row["prior_graduated"] = prior[-1] + prior[1:-1][ages >= STAGE_EDGES[-1]].sum()
            for stage, low, high in DIVISIONS.stages:
                row[f"prior_{stage}"] = prior[1:-1][(ages >= low) & (ages < high)].sum()
            found.append(row | {f"l_{name}": np.log(value) for name, value in zip(POINTS, prior, strict=True)})
        return found

    def activity(self) -> list[dict]:
        table = self.readout.activity
        return [
            {"model_version": self.version, "activity_code": int(code)} | {f"ll_{b}": row[b] for b in BINS}
            for code, row in table.iterrows()
        ]


MODELS = {version: RandomModel.of(version) for version in ("v1", "v2")}
PARAMETERS = {
    "readout_weights": pa.Table.from_pylist([model.weights() for model in MODELS.values()]),
    "prior_by_tenure": pa.Table.from_pylist([row for model in MODELS.values() for row in model.priors()]),
    "activity_log_likelihoods": pa.Table.from_pylist([row for model in MODELS.values() for row in model.activity()]),
}


def rows_of(histories: list[dict], since: int = 0, until: int = N_MONTHS) -> pa.Table:
    """The rows of users u0, u1, ..., from {month: eighths of the bins' log-likelihoods and of days}."""
    names = [*(f"ll_{name}" for name in BINS), *DAYS]
    rows = [
        {"user_id": f"u{user}", "month": np.datetime64(date_of(month)).astype(object)}
        | dict(zip(names, values, strict=True))
        for user, history in enumerate(histories)
        for month, values in ((m, in_eighths(v)) for m, v in sorted(history.items()) if since <= m < until)
    ]
    types = [("user_id", pa.string()), ("month", pa.date32()), *((name, pa.float64()) for name in names)]
    return pa.Table.from_pylist(rows, schema=pa.schema(types))


def in_eighths(values: list[int]) -> np.ndarray:
    return np.append(np.array(values[:6]) / 8, np.abs(values[6:]) / 8)


def users_of(histories: list[dict]) -> pa.Array:
    return pa.array([f"u{user}" for user in range(len(histories))])


def no_state(columns: dict[str, pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array([], kind) for name, kind in columns.items()})


KEYS = {"user_id": pa.string(), "month": pa.date32()}
NO_PRESENCE = no_state(KEYS | {f"c_{name}": pa.int32() for name in POINTS})
NO_BIRTH_MONTHS = no_state(
    KEYS
    | dict.fromkeys(["first_month", "last_active_month"], pa.date32())
    | dict.fromkeys(["months_of_evidence", "c_recent_months", *(f"a_{name}" for name in POINTS)], pa.int32())
    | dict.fromkeys(
        [f"c_{name}" for name in ("birth_log_odds", "birth_log_ratio", "peaks", *DAYS, *POINTS)], pa.float64()
    )
    | {"c_birth_is_open": pa.bool_()}
)
PASSES = {
    "birth_month_filter": (birth_month_pass.Pass, NO_BIRTH_MONTHS),
    "presence_filter": (presence_pass.Pass, NO_PRESENCE),
}


def run(model: str, histories: list[dict], users: list[int] | None = None) -> tuple[pa.Table, pa.Table]:
    """Published rows and state rows of all months, of all users or some of them."""
    make, state = PASSES[model]
    users = list(range(len(histories))) if users is None else users
    rows = rows_of([history if user in users else {} for user, history in enumerate(histories)])
    return make(AGES, months(), PARAMETERS)(users_of(histories).take(pa.array(users, pa.int64())), rows, state)


def expected_rows(histories: list[dict]) -> np.ndarray:
    """The oracle's rows, sorted by month and user."""
    found = []
    for month, version in enumerate(VERSIONS):
        model, since = MODELS[version], VERSIONS.index(version)
        for history in histories:
            if min(history) <= month:
                values = {m: in_eighths(v) for m, v in history.items() if m <= month}
                log_likelihood, days = {m: v[:6] for m, v in values.items()}, {m: v[6:] for m, v in values.items()}
                found.append(published_row(log_likelihood, month, model.readout, model.shares, DIVISIONS, days, since))
    return np.array(found)


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_posteriors_of_a_pass_follow_the_formula(histories):
    published, _ = run("birth_month_filter", histories)
    frame = published.to_pandas(date_as_object=False)
    for age, bound in (("expected", "expected"), ("youngest", "latest"), ("oldest", "earliest")):
        months_alive = [frame[name].dt.year * 12 + frame[name].dt.month for name in ("month", f"{bound}_birth_month")]
        frame[f"{age}_age"] = months_alive[0] - months_alive[1]
    np.testing.assert_allclose(frame[DIVISIONS.outputs].to_numpy(float), expected_rows(histories), rtol=0, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(HISTORIES)
def test_presences_of_a_pass_are_sums_per_birth_month(histories):
    published, _ = run("presence_filter", histories)
    frame, expected = published.to_pandas(), []
    for month in range(N_MONTHS):
        for history in (h for h in histories if min(h) <= month):
            of_ages, rows = presence_sums(history, month), {}
            for stage, low, high in DIVISIONS.stages:
                inside = of_ages[low - AGES.first : high - AGES.first]
                rows[f"presence_{stage}"] = np.log(np.exp(inside / 1000).mean())
                rows[f"age_{stage}"] = low + inside.argmax()
            expected.append(rows)
    expected = pd.DataFrame(expected)
    np.testing.assert_allclose(frame[expected.columns].to_numpy(float), expected.to_numpy(float), rtol=0, atol=6e-4)


def presence_sums(history: dict, month: int) -> np.ndarray:
    """The sum of log-likelihoods at each age of the grid in this month, in 1/1000 nat."""
    found = np.zeros(AGES.last - AGES.first + 1, int)
    for past in (past for past in history if past <= month):
        e, then = in_eighths(history[past])[:6], np.arange(AGES.first, AGES.last + 1) - (month - past)
        found += np.floor(1000 * log_likelihood_at(then, e, DIVISIONS) + 0.5).astype(int)
    return found


@pytest.mark.parametrize("model", PASSES)
@settings(max_examples=40, deadline=None)
@given(histories=HISTORIES, split=st.integers(0, 5))
def test_rows_do_not_depend_on_the_batch(model, histories, split):
    for whole, *parts in zip(
        run(model, histories),
        run(model, histories, list(range(len(histories)))[:split]),
        run(model, histories, list(range(len(histories)))[split:]),
        strict=True,
    ):
        left, right = (table.sort_by(SORTED).to_pandas() for table in (pa.concat_tables(parts), whole))
        pd.testing.assert_frame_equal(left, right, check_exact=False, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("model", PASSES)
@settings(max_examples=40, deadline=None)
@given(histories=HISTORIES)
def test_a_pass_from_a_stored_state_equals_one_over_all_months(model, histories):
    make, _ = PASSES[model]
    published, states = run(model, histories)
    since = 3
    is_december = np.array([str(day) for day in states["month"].to_pylist()]) == date_of(2)
    later = make(AGES, months(since), PARAMETERS)
    again, states_again = later(users_of(histories), rows_of(histories, since), states.filter(is_december))
    is_later = np.array([str(day) for day in published["month"].to_pylist()]) >= date_of(since)
    assert again.equals(published.filter(is_later))
    assert states_again.equals(states.filter(~is_december))


def test_rows_of_a_pass_are_sorted_by_month_and_user():
    histories = [{3: [8] * 9}, {0: [1] * 9}, {1: [-8] * 9, 5: [2] * 9}]
    for rows in run("birth_month_filter", histories):
        assert rows.sort_by(SORTED).equals(rows) and rows.num_rows > 3


def test_posteriors_that_are_no_distribution_are_found():
    histories = [{0: [1] * 9}, {2: [1] * 9}]
    published, _ = run("birth_month_filter", histories)
    check(published, "birth_month_filter")
    rows = rows_of(histories).to_pandas()
    rows.loc[rows["user_id"] == "u1", "ll_2"] = np.nan
    make, state = PASSES["birth_month_filter"]
    with np.errstate(invalid="ignore"):
        published, _ = make(AGES, months(), PARAMETERS)(users_of(histories), pa.Table.from_pandas(rows), state)
    with pytest.raises(ValueError, match="LS-STA-004 5 posteriors of 2015-12 in birth_month_filter do not sum to one"):
        check(published, "birth_month_filter")
