"""A random year of operation: deliveries, corrections, consents, erasures, kills, backups, restores, clocks, moves.

LIFE_STAGE_STEPS is the number of steps (20), LIFE_STAGE_SEED the seed of their sequence (1); each step is printed. A
step takes a run or two, too long for Hypothesis to shrink a failing sequence.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from project import POSTERIORS, SMALL, Shop, assert_same, make_shop, pin_model
from test_erasure import CONSENTS, holding, published_rows
from test_publishing import matches_manifest
from test_unchanged import (
    corrected,
    fewer_children,
    in_other_files,
    keep_late_rows_back,
    late_rows,
    next_month,
    touched,
)

N_STEPS, SEED = int(os.environ.get("LIFE_STAGE_STEPS", 20)), int(os.environ.get("LIFE_STAGE_SEED", 1))
OPTIONS = {"rejections_max_lost_share": 1, "consents_max_withdrawn_share": 1}
DELIVERIES = [touched, fewer_children, corrected, late_rows, next_month, in_other_files]
STAGES = "select user_id, child_no, stage from {} order by all"
REPLAYED = """
    select user_id, child_no, stage from (
        select user_id, child_no, max_by([stage], event_no)[1] as stage from stage_events group by all
    ) where stage is not null order by all
"""


@dataclass
class Operation:
    """A shop, those who must be nowhere in it, and those whose withdrawn consent the next run carries out."""

    shop: Shop
    users: list[str]
    folder: Path
    rng: random.Random
    gone: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    read: dict[tuple, str] = field(default_factory=dict)  # the stages of a reader of the events
    last_read: int = 0

    def run(self) -> None:
        """A run, which must succeed."""
        self.shop.build(**OPTIONS)
        self.gone |= self.withdrawn
        stages = self.shop.query(STAGES.format("user_stages"))
        assert self.shop.query(REPLAYED) == stages
        assert self.shop.query(STAGES.format(f"'{self.shop.published}/user_stages.parquet'")) == stages
        self.read_events()
        assert sorted((*child, stage) for child, stage in self.read.items() if child[0] not in self.gone) == stages

    def read_events(self) -> None:
        """A reader of the published log follows its new events."""
        new = f"from '{self.shop.published}/stage_events.parquet' where event_no > {self.last_read} order by event_no"
        for event_no, user, child, stage in self.shop.query(f"select event_no, user_id, child_no, stage {new}"):
            self.last_read = event_no
            self.read[user, child] = stage
        self.read = {child: stage for child, stage in self.read.items() if stage}

    def deliver(self) -> None:
        """A delivery."""
        self.rng.choice(DELIVERIES)(self.shop)

    def delivery(self) -> None:
        """A delivery and a run."""
        self.deliver()
        self.run()

    def erasure(self) -> None:
        """A user is erased."""
        user = self.rng.choice(self.users)
        assert self.shop.operate("erase", user).exit_code == 0
        self.gone.add(user)

    def withdrawal(self) -> None:
        """A user withdraws consent."""
        self.withdrawn.add(self.rng.choice(self.users))
        file = self.shop.source / "consents.parquet"
        named = ", ".join(f"'{user}'" for user in sorted(self.withdrawn))
        consents = f"from '{file}' where user_id::varchar not in ({named})"
        duckdb.sql(f"copy ({consents}) to '{file}.new' (format parquet)")
        Path(f"{file}.new").replace(file)

    def withdrawal_in_a_broken_delivery(self) -> None:
        """A user withdraws consent, and the delivery stops the run."""
        self.withdrawal()
        items = self.shop.source / "items.parquet"
        aside = items.rename(self.shop.folder / "items.parquet")
        assert "LS-SRC-001" in self.shop.start(**OPTIONS).output
        aside.rename(items)
        self.gone |= self.withdrawn

    def kill(self) -> None:
        """A run after a delivery is killed; the next one finishes."""
        self.deliver()
        words = ["--vars", json.dumps(SMALL | OPTIONS), "--exclude-resource-type", "unit_test", "test"]
        self.shop.dbt("build", *words, seconds=self.rng.uniform(2, 20))
        self.check()
        self.run()

    def backup(self) -> None:
        """A backup."""
        assert self.shop.run("life-stage", "backup", "--into", "backups").exit_code == 0

    def restore(self) -> None:
        """Any backup is restored, or copied back by hand; then there is a run."""
        backups = sorted((self.shop.folder / "backups").glob("*.duckdb"))
        if not backups:
            return self.backup()
        backup = self.rng.choice(backups)
        if self.rng.random() < 0.5:
            shutil.copy2(backup, self.shop.warehouse)
        else:
            assert self.shop.operate("restore", str(backup.relative_to(self.shop.folder))).exit_code == 0
            self.check()
        self.run()

    def clock(self) -> None:
        """A clock that is years behind stops the run."""
        assert "LS-RUN-006" in self.shop.start(**OPTIONS, run_clock="2017-03-02 00:00:00").output

    def move(self) -> None:
        """The folder is moved, and the job goes on there."""
        place = self.folder / f"moved_{self.rng.randrange(10**9)}"
        self.shop = Shop(self.shop.folder.rename(place))
        self.run()

    def check(self) -> None:
        """The published set is whole, and nobody who asked for it is anywhere."""
        assert matches_manifest(self.shop.published)
        assert {table for user in self.gone for table in holding(self.shop, user)} == set()
        assert not any(n for user in self.gone for n in published_rows(self.shop, user).values())


STEPS: list[Callable[[Operation], None]] = [
    Operation.delivery,
    Operation.delivery,
    Operation.erasure,
    Operation.withdrawal,
    Operation.withdrawal_in_a_broken_delivery,
    Operation.kill,
    Operation.backup,
    Operation.restore,
    Operation.restore,
    Operation.clock,
    Operation.move,
]


def begin(base: Shop, folder: Path) -> Operation:
    """Five of eight months, with late rows of two of them kept back, and everybody's consent."""
    shop = make_shop(folder / "shop", like=base)
    shop.source.mkdir()
    for file in ("items.parquet", "children.parquet"):
        shutil.copy2(base.source / file, shop.source)
    shop.add_months(base, [f"2016-{month:02}" for month in range(7, 12)])
    for month in ("2016-12", "2017-01", "2017-02"):
        shutil.copytree(base.source / "actions" / f"month={month}", shop.folder / f"month={month}")
    keep_late_rows_back(shop)
    shop.write("consents.parquet", CONSENTS.format(source=base.source))
    pin_model(shop, of=base)
    users = sorted(set(pd.read_parquet(shop.source / "children.parquet")["user_id"].astype(str)))
    operation = Operation(shop, users, folder, random.Random(SEED))
    operation.run()
    return operation


@pytest.mark.slow
@pytest.mark.fault("State", "a random year of operation", "nobody comes back, published sets whole, as a fresh build")
def test_a_random_year_of_operation_loses_nothing_and_brings_nobody_back(base, tmp_path, capsys):
    operation = begin(base, tmp_path)
    for number in range(N_STEPS):
        step = operation.rng.choice(STEPS)
        with capsys.disabled():
            print(f"step {number + 1} of {N_STEPS}: {step.__name__}", flush=True)
        step(operation)
        operation.check()
    operation.run()
    fresh = make_shop(tmp_path / "fresh", like=base)
    fresh.source.symlink_to(operation.shop.source)
    shutil.copy2(f"{operation.shop.warehouse}.ledger", f"{fresh.warehouse}.ledger")
    pin_model(fresh, of=base)
    fresh.build(**OPTIONS)
    assert_same(operation.shop, fresh, [*POSTERIORS, "user_stages"])
