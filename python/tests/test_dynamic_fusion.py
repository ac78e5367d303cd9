"""dynamic_fusion month by month against a NumPy implementation, and its arithmetic against golden numbers."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from project import made_once

from life_stage.filtering.birth_months import Ages
from life_stage.filtering.fusion_pass import Pass
from life_stage.filtering.pass_grid import Month, dates_of, numbers_of
from life_stage.filtering.tracks import primary_tracks

PROJECT = Path(__file__).parents[2]
MACROS = ["stages.sql", "fusion_tracks.sql", "birth_months.sql"]


def day(month: int) -> str:
    return f"{pd.Timestamp('2015-11-01') + pd.DateOffset(months=month):%Y-%m-%d}"


# The method for one user.


@dataclass(frozen=True)
class Track:
    """A distribution over the stages, with graduated last, as of the month it last matched."""

    number: int
    p: np.ndarray
    first: int
    matched: int
    fusions: int = 1


def moved(p: np.ndarray, delta: int, edges: list[int]) -> np.ndarray:
    """Equation 1: each stage's mass evenly over its months, every month moved, collected again; graduated stays."""
    after = np.append(np.zeros(len(p) - 1), p[-1])
    for mass, low, high in zip(p, edges, edges[1:], strict=False):
        for age in range(low, high):
            after[np.searchsorted(edges, age + delta, side="right") - 1] += mass / (high - low)
    return after


def top(p: np.ndarray) -> int:
    return int(np.round(p, 12).argmax())  # ties: the younger stage


def step(
    tracks: list[Track], n_ever: int, month: int, p: np.ndarray | None, edges: list[int]
) -> tuple[list[Track], int]:
    """One month: match, merge and normalise, or start a track; keep three."""
    if p is not None:
        agree = [t for t in tracks if top(moved(t.p, month - t.matched, edges)) == top(p)]
        if agree:
            best = min(agree, key=lambda t: (-t.fusions, -t.matched, t.first, t.number))
            q = moved(best.p, month - best.matched, edges)[:-1]
            mean = (best.fusions * q + p) / (best.fusions + 1)
            merged = replace(best, p=np.append(mean / mean.sum(), 0), matched=month, fusions=best.fusions + 1)
            tracks = [merged if t is best else t for t in tracks]
        else:
            n_ever += 1
            tracks = [*tracks, Track(n_ever, np.append(p, 0), month, month)]
    return ranked(tracks, month)[:3], n_ever


def ranked(tracks: list[Track], month: int) -> list[Track]:
    """Fusions long ago count less."""
    weight = {t.number: round(t.fusions * 0.7 ** (month - t.matched), 12) for t in tracks}
    return sorted(tracks, key=lambda t: (-weight[t.number], -t.matched, t.first, t.number))


class MonthlyRun:
    """The compiled SQL of the model, run month by month on separate tables, as the materialization does."""

    def __init__(self, base) -> None:
        self.sql = next(base.folder.glob("target/compiled/**/dynamic_fusion.sql")).read_text()
        self.bins = base.query("select age_bin, from_month, to_month from age_bins order by bin_no")
        stages = base.query("select stage, from_month, to_month from stages order by stage_no")
        self.stages, self.edges = [s for s, _, _ in stages], [stages[0][1], *[high for _, _, high in stages]]
        self.connection = duckdb.connect()
        self.connection.execute("set threads = 1; attach ':memory:' as warehouse")
        columns = base.query(
            "select column_name, data_type from duckdb_columns() where table_name = 'dynamic_fusion_cells'"
        )
        self.state = ", ".join(name for name, _ in columns)
        types = ", ".join(f"{name} {type}" for name, type in columns)
        self.connection.execute(f"create table warehouse.dynamic_fusion_cells ({types})")

    def set_scores(self, month: int, people: dict[str, np.ndarray]) -> None:
        """stage_scores with all of a stage's mass in its first bin, and some mass outside the stages."""
        names = [name for name, _, _ in self.bins]
        first = [next(n for n, (_, start, _) in enumerate(self.bins) if start == low) for low in self.edges[:-1]]
        of_bins = np.zeros((len(people), len(names)))
        of_bins[:, [0, -1]] = 0.1
        for row, p in enumerate(people.values()):
            of_bins[row, first] = 0.8 * p
        frame = pd.DataFrame(of_bins, columns=[f"bin_{name}" for name in names])
        frame.insert(0, "user_id", pd.Series(list(people), dtype=str))
        self.connection.register("frame", frame)
        self.connection.execute(
            f"create or replace table warehouse.stage_scores as select *, date '{day(month)}' as month from frame"
        )

    def run(self, histories: dict[str, dict[int, np.ndarray]], n_months: int) -> dict[int, pd.DataFrame]:
        """{month: rows of the model}, from {user: {month: distribution}}."""
        self.connection.execute("delete from warehouse.dynamic_fusion_cells")
        predicted = {}
        for month in range(n_months):
            self.set_scores(month, {user: h[month] for user, h in histories.items() if month in h})
            sql = self.sql.replace("__month__", day(month)).replace("__previous_month__", day(month - 1))
            self.connection.execute(f"create or replace temp table predicted as {sql}")
            self.connection.execute(
                f"insert into warehouse.dynamic_fusion_cells by name select {self.state} from predicted"
            )
            predicted[month] = self.connection.execute("select * from predicted order by user_id, rank").df()
        return predicted


@pytest.fixture(scope="module")
def monthly_run(base):
    return MonthlyRun(base)


def oracle(history: dict[int, np.ndarray], n_months: int, edges: list[int]) -> dict[int, list[Track]]:
    tracks, n_ever, found = [], 0, {}
    for month in range(n_months):
        tracks, n_ever = step(tracks, n_ever, month, history.get(month), edges)
        found[month] = tracks
    return found


def following(
    monthly_run: MonthlyRun, histories: dict[str, dict[int, np.ndarray]], n_months: int
) -> dict[int, pd.DataFrame]:
    """The rows of the months, which must be those of the method."""
    predicted = monthly_run.run(histories, n_months)
    for user, history in histories.items():
        expected = oracle(history, n_months, monthly_run.edges)
        for month in range(n_months):
            rows = predicted[month][predicted[month]["user_id"] == user]
            assert_are(rows, expected[month], month, monthly_run.stages, monthly_run.edges)
    return predicted


def assert_are(rows: pd.DataFrame, tracks: list[Track], month: int, stages: list[str], edges: list[int]) -> None:
    """Assert that the rows of a user and month are these tracks, to the six decimals that are stored."""
    assert list(rows["track_no"]) == [t.number for t in tracks], month
    assert list(rows["rank"]) == list(range(1, len(tracks) + 1))
    assert list(rows["n_fusions"]) == [t.fusions for t in tracks]
    for row, track in zip(rows.to_dict("records"), tracks, strict=True):
        now = moved(track.p, month - track.matched, edges)
        assert row["graduated_probability"] == pytest.approx(now[-1], abs=1e-6)
        inside = now[:-1] / now[:-1].sum() if now[:-1].sum() > 1e-12 else np.eye(len(stages))[-1]
        np.testing.assert_allclose([row[f"p_{stage}"] for stage in stages], inside, rtol=0, atol=1e-6)


# Distributions of few coarse numbers, so that ties and repeated agreement are common.
DISTRIBUTIONS = st.lists(st.integers(0, 3), min_size=6, max_size=6).filter(sum).map(lambda w: np.array(w) / sum(w))
HISTORIES = st.dictionaries(st.integers(0, 15), DISTRIBUTIONS, min_size=1, max_size=8)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories=st.lists(HISTORIES, min_size=1, max_size=18))
def test_any_history_is_fused_as_published(monthly_run, histories):
    """Ties, gaps of several months, births crossing zero, more than three tracks."""
    following(monthly_run, {f"u{n}": history for n, history in enumerate(histories)}, 16)


@settings(max_examples=50, deadline=None)
@given(histories=st.lists(HISTORIES, min_size=1, max_size=4))
def test_the_arrays_of_evaluation_fuse_any_history_alike(histories):
    """Their strongest track is that of the NumPy implementation."""
    edges, n_months = [-9, 0, 6, 12, 24, 36, 84], 40
    p = np.full((len(histories), n_months, 6), np.nan)
    for user, history in enumerate(histories):
        p[user, list(history)] = list(history.values())
    predicted = primary_tracks(p, tuple(edges))
    for user, history in enumerate(histories):
        for month, tracks in oracle(history, n_months, edges).items():
            if not tracks:
                assert np.isnan(predicted[user, month]).all()
                continue
            now = moved(tracks[0].p, month - tracks[0].matched, edges)[:-1]
            np.testing.assert_allclose(predicted[user, month], now / now.sum(), rtol=0, atol=1e-9)


STAGES, EDGES = tuple("abcdef"), [-9, 0, 6, 12, 24, 36, 84]
STATE = {
    "user_id": pa.string(),
    **dict.fromkeys(["month", "first_month", "matched_month"], pa.date32()),
    **dict.fromkeys(["track_no", "n_fusions", "c_n_tracks_ever"], pa.int64()),
    **dict.fromkeys([f"c_{name}" for name in (*STAGES, "graduated")], pa.float64()),
}


@settings(max_examples=50, deadline=None)
@given(histories=st.lists(HISTORIES, min_size=1, max_size=4), since=st.integers(1, 15))
def test_a_pass_fuses_any_history_alike(histories, since):
    """In one pass over 16 months, and from the state before the month `since` on."""
    months = [Month(n, "v", is_published=True, is_stored=n in (since - 1, 15)) for n in range(16)]
    users = pa.array([f"u{user}" for user in range(len(histories))])
    of_months = [(user, month, p) for user, history in enumerate(histories) for month, p in sorted(history.items())]
    user, month, p = zip(*of_months, strict=True)
    rows = pa.table({"user_id": users.take(pa.array(user)), "month": dates_of(np.array(month))})
    for stage, mass in zip(STAGES, np.array(p).T, strict=True):
        rows = rows.append_column(f"m_{stage}", pa.array(mass))
    ages, nothing = Ages((), (), STAGES, tuple(EDGES)), pa.schema(STATE).empty_table()
    published, states = Pass(ages, months, {}, "mean")(users, rows, nothing)
    frame, numbers = published.to_pandas(), numbers_of(published["month"])
    for user, history in enumerate(histories):
        for month, tracks in oracle(history, 16, EDGES).items():
            assert_are(frame[(numbers == month) & (frame["user_id"] == f"u{user}")], tracks, month, STAGES, EDGES)
    later, december = rows.filter(numbers_of(rows["month"]) >= since), numbers_of(states["month"]) == since - 1
    again, _ = Pass(ages, months[since:], {}, "mean")(users, later, states.filter(december))
    assert again.equals(published.filter(numbers >= since))


def test_a_child_leaves_the_last_stage_and_stays_graduated(monthly_run):
    last = np.eye(6)[-1]
    histories = {"old": {0: last, 40: last, 55: np.eye(6)[0]}, "silent": {0: last}}
    predicted = following(monthly_run, histories, 60)
    rows = [predicted[month].set_index("user_id").loc["silent"] for month in range(60)]
    graduated = [row["graduated_probability"].item() for row in rows]
    assert graduated[0] == 0 and graduated[24] == pytest.approx(0.5) and graduated[48:] == [1.0] * 12


def test_a_month_without_a_distribution_only_moves_the_tracks(monthly_run):
    predicted = monthly_run.run({"quiet": {0: np.array([1, 0, 0, 0, 0, 0.0])}}, 10)
    assert [predicted[m]["n_fusions"].item() for m in range(10)] == [1] * 10
    assert predicted[9]["p_pregnancy"].item() == 0, "nine months on every expected child is born"
    assert predicted[3]["p_newborn"].item() == pytest.approx(3 / 9, abs=1e-6)
    assert not predicted[9]["birth_confirmed"].item(), "time alone confirms no birth"


def test_two_children_keep_two_tracks(monthly_run):
    pregnancy, nursery = np.eye(6)[0], np.eye(6)[4]
    predicted = monthly_run.run({"both": {0: pregnancy, 1: nursery, 2: pregnancy, 3: nursery}}, 4)
    assert list(predicted[3]["n_fusions"]) == [2, 2] and list(predicted[3]["track_no"]) == [2, 1]
    assert list(predicted[3]["birth_confirmed"]) == [True, False]


def test_a_fourth_track_drops_the_weakest(monthly_run):
    stages = [np.eye(6)[n] for n in (0, 2, 4, 5)]
    predicted = monthly_run.run({"all": dict(enumerate(stages))}, 4)
    assert sorted(predicted[3]["track_no"]) == [2, 3, 4], "the oldest of equal fusions has faded most"


# The arithmetic on the five stages that the golden numbers were computed for.


@pytest.fixture(scope="module")
def golden():
    """Numbers computed independently of this project, for five stages."""
    return json.loads((Path(__file__).parent / "fusion_5_stages.json").read_text())


@pytest.fixture(scope="module")
def arithmetic(golden, tmp_path_factory):
    """A warehouse whose tables hold p1 moved by 0, 1, 2, 6, 12, 48 months and its merges with p2."""
    folder = made_once(tmp_path_factory, "golden", lambda folder: write_golden_project(folder, golden["inputs"]))
    with duckdb.connect(folder / "golden.duckdb", read_only=True) as connection:
        yield connection


def write_golden_project(folder: Path, inputs: dict) -> None:
    """A project of these tables alone, and its run."""
    names = [f"s{n}" for n in range(5)]
    edges = zip(names, inputs["edges"][:-1], inputs["edges"][1:], strict=True)
    stages = [{"name": name, "from_month": low, "to_month": high} for name, low, high in edges]
    variables = {"stages": stages, "age_bin_edges": [-34, -9, 0, 84, 110], "infer_pregnancy": True}
    for name in ("macros", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "dbt_project.yml").write_text(
        "name: golden\nprofile: golden\nflags: {send_anonymous_usage_stats: false}\nvars: " + json.dumps(variables)
    )
    (folder / "profiles.yml").write_text(
        "golden: {target: t, outputs: {t: {type: duckdb, path: golden.duckdb, threads: 1}}}\n"
    )
    for name in MACROS:
        shutil.copy(PROJECT / "macros" / name, folder / "macros")
    p1 = ", ".join(f"cast({value} as double) as c_{name}" for name, value in zip(names, inputs["p1"], strict=True))
    p2 = ", ".join(f"cast({value} as double) as p_{name}" for name, value in zip(names, inputs["p2"], strict=True))
    (folder / "models" / "moved.sql").write_text(f"""
        with tracks as (select {p1}, unnest([0, 1, 2, 6, 12, 48]) as delta)
        select delta {{% for stage in stages() %}},
            {{{{ shifted_mass(stage.from_month, stage.to_month, "c_", "delta") }}}} as s_{{{{ stage.name }}}}
            {{% endfor %}},
            {{{{ shifted_mass(84, 100000, "c_", "delta") }}}} as s_graduated
        from tracks""")
    for merge in ("mean", "product"):
        (folder / "models" / f"merged_{merge}.sql").write_text(f"""
            with tracks as (select *, {p2}, unnest([1, 3]) as n_fusions from {{{{ ref("moved") }}}} where delta = 1)
            select n_fusions {{% for name in stage_names() %}},
                {{{{ merged(name, "{merge}") }}}} as f_{{{{ name }}}} {{% endfor %}}
            from tracks""")
    (folder / "models" / "tie.sql").write_text(
        "select {{ first_greatest('t_', ['a', 'b', 'c']) }} as winner from (select .4 as t_a, .4 as t_b, .2 as t_c)"
    )
    # In a process of its own: dbt-duckdb keeps the first database of a process.
    words = [sys.executable, "-c", "from dbt.cli.main import cli; cli()", "run", "--profiles-dir", ".", "--quiet"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("delta", "key"), [(0, "collapse(spread(p1))"), *((n, f"shift{n}") for n in (1, 2, 6, 12, 48))]
)
def test_a_moved_distribution_is_the_golden_one(arithmetic, golden, delta, key):
    found = arithmetic.execute("select * exclude (delta) from moved where delta = ?", [delta]).fetchall()[0]
    np.testing.assert_allclose(found, golden[key], rtol=0, atol=1e-8)


def test_merged_distributions_are_the_golden_ones(arithmetic, golden):
    for fusions in (1, 3):
        found = arithmetic.execute(
            "select * exclude (n_fusions) from merged_mean where n_fusions = ?", [fusions]
        ).fetchall()[0]
        np.testing.assert_allclose(found, golden[f"merge_avg_f{fusions}"], rtol=0, atol=1e-8)
    product = np.array(arithmetic.execute("select * exclude (n_fusions) from merged_product limit 1").fetchall()[0])
    expected = golden["stage_merge_plain_product"]
    np.testing.assert_allclose(
        [product.sum(), *product / product.sum()], [expected["Z"], *expected["stages"]], atol=1e-8
    )


def test_a_tie_goes_to_the_younger_stage(arithmetic):
    assert arithmetic.execute("select winner from tie").fetchall()[0] == ("a",)
