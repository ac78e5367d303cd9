"""Kills of a run at any point: the published set stays complete, and the next run recovers."""

import hashlib
import json
import random
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from kill_runner import run
from project import SMALL, UNLOGGED, Shop, copy_shop
from reliability import observe

STAGED = "source_file_months stg_action_rows action_months user_months search_terms user_month_features"
STATE = f"{STAGED} stage_coefficients month_model_assignments"
POSTERIORS = "stage_log_likelihoods stage_scores birth_month_filter dynamic_fusion registered_births"
POSTERIORS += " presence_filter household_weights household_stages household_children"
WATCHED = f"{STATE} {POSTERIORS} user_stages model_runs published_marts"
# Evaluation and checkout write nothing that a later run reads.
BUILD = ("build", "--exclude-resource-type", "test", "unit_test", "--exclude", "path:models/life_stage/evaluation")
BUILD += ("path:models/checkout", "--vars", json.dumps(SMALL | {"training_every_months": 1}))
BUILD += tuple(UNLOGGED)
# Columns of the run and its time: the only differences a kill may leave.
OF_THE_RUN = [
    "event_no",
    "logged_at",
    "read_at",
    "run_id",
    "built_at",
    "started_at",
    "seconds",
    "registered_at",
    "sha256",
    "bytes",
]
# Work of a killed run is not done again, so counts are those of all its runs together.
WORK_OF_THE_RUN = ["n_months_read", "n_rows_read", "n_rows_rejected", "n_rows_repeated", "n_months_updated"]

NEW_MONTH = """
    copy (
        select * replace (action_id || '-new' as action_id, occurred_at + interval 28 days as occurred_at)
        from 'source/actions/month=2017-02/*.parquet'
        where occurred_at >= timestamp '2017-02-01' and occurred_at < timestamp '2017-03-01'
        union all by name
        select '2017-03-31 12:00:00'::timestamp as occurred_at, * exclude (occurred_at, rank)
        from (select *, row_number() over (order by action_id) as rank from 'source/actions/month=2017-01/*.parquet')
        where rank <= 20
    ) to 'source/actions/new_month.parquet'
"""
LATE_ROWS = """
    copy (
        select * replace (action_id || '-late' as action_id, occurred_at + interval 3 days as occurred_at)
        from 'source/actions/month=2016-11/*.parquet'
        where occurred_at >= timestamp '2016-11-01' and occurred_at < timestamp '2016-11-27' and hash(action_id) % 3 = 0
    ) to 'source/actions/late_rows.parquet'
"""
# Points at which a new month's run is killed, in order: the model and its next step.
MOMENTS = [
    ("stage_coefficients", r"^insert into"),  # a model is trained and not yet added
    ("birth_month_filter", r"^insert into \S+birth_month_filter_cells"),  # during the recursive update
    ("published_marts", r"^os.rename \S+published.new"),  # just before the link is swapped
    ("published_marts", r"^alter table \S+published_marts"),  # after it is swapped
]


@dataclass
class Scene:
    """A shop before a run, and the result of that run without a kill."""

    shop: Shop
    old_manifest: dict
    boundaries: list[dict]
    tables: dict[str, pd.DataFrame]
    published: dict[str, pd.DataFrame]
    seconds: float
    temporary_tables: set[str]
    work: dict[str, int]

    def restore(self) -> None:
        put(self.shop.folder / "kept", self.shop.folder)

    def killed_at(self, model: str, pattern: str, occurrence: int = 0) -> None:
        steps = [boundary["next"] for boundary in self.boundaries if boundary["model"] == model]
        number = [n for n, step in enumerate(steps, 1) if re.search(pattern, step.split("*/")[-1].strip())][occurrence]
        run(self.shop, *BUILD, "--threads", "1", watch=model, kill_at=number)

    def published_is_whole(self) -> None:
        if whole_manifest(self.shop) != self.old_manifest:
            assert_equal(published(self.shop), self.published)

    def heals(self) -> None:
        """Assert a complete published set, old or new, and after another run the result of a run without a kill."""
        self.published_is_whole()
        run(self.shop, *BUILD)
        assert_equal(tables(self.shop), self.tables)
        assert_equal(published(self.shop), self.published)
        assert whole_manifest(self.shop)["columns"] == self.old_manifest["columns"]
        assert self.temporary_tables | temporary_tables(self.shop) == set()
        assert work(self.shop) == self.work


def put(origin: Path, target: Path) -> None:
    """Replace warehouse and published marts of one folder by those of another."""
    target.mkdir(exist_ok=True)
    for old in [*target.glob("warehouse.duckdb*"), *target.glob("published*")]:
        shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    for path in [*origin.glob("warehouse.duckdb*"), *origin.glob("published*")]:
        if path.is_symlink():
            (target / path.name).symlink_to(path.readlink())
        else:
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, target / path.name)


def make_scene(base: Shop, folder: Path, arrival: str) -> Scene:
    shop = copy_shop(base, folder)
    with duckdb.connect() as connection:
        connection.execute(arrival.replace("source/", f"{shop.source}/"))
    put(folder, folder / "kept")
    begin = time.monotonic()
    passed = run(shop, *BUILD, "--threads", "1", watch=WATCHED)
    seconds = time.monotonic() - begin
    manifest = json.loads((folder / "kept" / "published" / "manifest.json").read_text())
    newest = "month = (select max(month) from birth_month_filter)"
    before, now = (one.frame("birth_month_filter", newest).drop(columns="run_id") for one in (base, shop))
    assert not before.equals(now) and whole_manifest(shop) != manifest, "nothing new: the scene proves nothing"
    after = tables(shop), published(shop), seconds, temporary_tables(shop), work(shop)
    return Scene(shop, manifest, passed, *after)


def whole_manifest(shop: Shop) -> dict:
    """The manifest of the published set, after a check that every file matches it and is readable."""
    manifest = json.loads((shop.published / "manifest.json").read_text())
    for name, facts in manifest["files"].items():
        path = shop.published / f"{name}.parquet"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == facts["sha256"], name
        assert duckdb.read_parquet(str(path)).shape[0] == facts["n_rows"], name
    return manifest


def tables(shop: Shop) -> dict[str, pd.DataFrame]:
    """Every table except temporary ones, without columns that identify the run."""
    names = sorted(set(shop.tables()) - temporary_tables(shop))
    frames = {name: shop.frame(name).drop(columns=OF_THE_RUN, errors="ignore") for name in names}
    runs = shop.frame("model_runs").sort_values("started_at")
    newest_run = runs.tail(1).reset_index(drop=True)
    frames["model_runs"] = newest_run.drop(columns=OF_THE_RUN + WORK_OF_THE_RUN, errors="ignore")
    frames["published_marts"] = frames["published_marts"].query("mart != 'model_runs'").reset_index(drop=True)
    if "project_state" in frames:  # from version 5 on
        state = frames["project_state"].query("key != 'ledger'")  # its lines: a killed run has published too
        frames["project_state"] = state.reset_index(drop=True)
    return frames


def work(shop: Shop) -> dict[str, int]:
    return shop.frame("model_runs")[WORK_OF_THE_RUN].sum().to_dict()


def temporary_tables(shop: Shop) -> set[str]:
    return {name for name in shop.tables() if "__dbt_" in name or name.endswith("_step")}


def published(shop: Shop) -> dict[str, pd.DataFrame]:
    files = sorted(shop.published.resolve().rglob("*.parquet"))
    frames = {str(path.relative_to(shop.published.resolve()).with_suffix("")): pd.read_parquet(path) for path in files}
    return {n: f.drop(columns=OF_THE_RUN, errors="ignore") for n, f in frames.items() if n != "model_runs"}


def assert_equal(left: dict[str, pd.DataFrame], right: dict[str, pd.DataFrame]) -> None:
    assert sorted(left) == sorted(right)
    for name, frame in left.items():
        pd.testing.assert_frame_equal(frame, right[name], check_exact=False, rtol=0, atol=1e-9, obj=name)


@pytest.fixture(scope="module")
def new_month(base, tmp_path_factory):
    return make_scene(base, tmp_path_factory.mktemp("kills") / "new_month", NEW_MONTH)


@pytest.fixture(scope="module")
def late_rows(base, tmp_path_factory):
    return make_scene(base, tmp_path_factory.mktemp("kills") / "late_rows", LATE_ROWS)


@pytest.mark.fault(
    "Kills", "kill -9 during training, filter update, publication", "published set complete, next run recovers"
)
@pytest.mark.slow
def test_a_run_killed_four_times_over_a_new_month_heals(new_month):
    new_month.restore()
    for model, pattern in MOMENTS:
        new_month.killed_at(model, pattern)
        new_month.published_is_whole()
    assert whole_manifest(new_month.shop) != new_month.old_manifest, "the last kill came before the swap"
    new_month.heals()


@pytest.mark.fault("Kills", "kill -9 during a backfill", "published set complete, next run recovers")
@pytest.mark.slow
def test_a_run_killed_during_a_backfill_heals(late_rows):
    late_rows.restore()
    n_steps = sum(boundary["model"] == "birth_month_filter" for boundary in late_rows.boundaries)
    assert n_steps > 5
    late_rows.killed_at("birth_month_filter", "", occurrence=n_steps // 2)
    late_rows.heals()


@pytest.mark.fault(
    "Kills", "kill -9 at every SQL statement and file operation", "published set complete, next run recovers"
)
@pytest.mark.slow
@pytest.mark.parametrize("arrival", ["new_month", "late_rows"])
def test_a_run_killed_at_any_boundary_heals(arrival, request):
    """Every statement and file operation; those with the same files on disk are tested once."""
    scene, failures = request.getfixturevalue(arrival), []
    # Boundaries with the same files on disk are equivalent for the next run.
    unlike = list({boundary["on_disk"]: boundary for boundary in reversed(scene.boundaries)}.values())[::-1]
    for boundary in unlike:
        scene.restore()
        run(scene.shop, *BUILD, "--threads", "1", watch=WATCHED, kill_at=boundary["number"])
        try:
            scene.heals()
        except AssertionError as error:
            failures.append(f"{boundary['number']} {boundary['model']}: {boundary['next'][-150:]}\n{error}")
    observe(f"{len(unlike)} distinct disk states at {len(scene.boundaries)} kill points")
    assert not failures, "\n\n".join(failures)


@pytest.mark.fault("Kills", "kill -9 at a random time", "published set complete, next run recovers")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_a_run_killed_at_a_random_time_heals(new_month, seed):
    new_month.restore()
    new_month.shop.dbt(*BUILD, seconds=new_month.seconds * random.Random(seed).uniform(0.3, 1))
    new_month.heals()
