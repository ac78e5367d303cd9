"""Random years of operation: deliveries, corrections, consents, erasures, kills, backups, restores, clocks, moves.

LIFE_STAGE_YEARS is the number of years (1), each with a seed of its own, LIFE_STAGE_STEPS that of the steps in each
(20). Each step is printed: Hypothesis would take too long to shrink a failing sequence.
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
from reliability import observe
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

N_STEPS, N_YEARS = int(os.environ.get("LIFE_STAGE_STEPS", 20)), int(os.environ.get("LIFE_STAGE_YEARS", 1))
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
    is_copied: bool = False  # a backup was copied by hand, and no command has applied the ledger to it
    read: dict[tuple, str] = field(default_factory=dict)  # the stages of a reader of the events
    last_read: int = 0

    def run(self) -> None:
        """A run, which must succeed."""
        self.shop.build(**OPTIONS)
        self.gone |= self.withdrawn
        self.is_copied = False
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

    def delivery(self) -> None:
        """A delivery, which the next run reads."""
        self.rng.choice(DELIVERIES)(self.shop)

    def erasure(self) -> None:
        """A user is erased."""
        user = self.rng.choice(self.users)
        assert self.shop.operate("erase", user).exit_code == 0
        self.gone.add(user)
        self.is_copied = False

    def withdrawal(self) -> None:
        """A user withdraws consent."""
        self.withdrawn.add(self.rng.choice(self.users))
        file = self.shop.source / "consents.parquet"
        named = ", ".join(f"'{user}'" for user in sorted(self.withdrawn))
        consents = f"from '{file}' where user_id::varchar not in ({named})"
        duckdb.sql(f"copy ({consents}) to '{file}.new' (format parquet)")
        Path(f"{file}.new").replace(file)

    def broken_delivery(self) -> None:
        """A delivery stops the run, which carries out the withdrawals nevertheless."""
        items = self.shop.source / "items.parquet"
        aside = items.rename(self.shop.folder / "items.parquet")
        assert "LS-SRC-001" in self.shop.start(**OPTIONS).output
        aside.rename(items)
        self.gone |= self.withdrawn
        self.is_copied = False

    def kill(self) -> None:
        """A run is killed."""
        words = ["--vars", json.dumps(SMALL | OPTIONS), "--exclude-resource-type", "unit_test", "test"]
        self.shop.dbt("build", *words, seconds=self.rng.uniform(2, 20))

    def backup(self) -> None:
        """A backup."""
        assert self.shop.run("life-stage", "backup", "--into", "backups").exit_code == 0

    def restore(self) -> None:
        """Any backup is restored."""
        if backups := sorted((self.shop.folder / "backups").glob("*.duckdb")):
            backup = self.rng.choice(backups).relative_to(self.shop.folder)
            assert self.shop.operate("restore", str(backup)).exit_code == 0
            self.is_copied = False

    def copy(self) -> None:
        """Any backup is copied into the place of the warehouse by hand."""
        if backups := sorted((self.shop.folder / "backups").glob("*.duckdb")):
            Path(f"{self.shop.warehouse}.wal").unlink(missing_ok=True)  # of a killed run
            shutil.copy2(self.rng.choice(backups), self.shop.warehouse)
            self.is_copied = True

    def clock(self) -> None:
        """A clock that is years behind stops the run."""
        assert "LS-RUN-006" in self.shop.start(**OPTIONS, run_clock="2017-03-02 00:00:00").output

    def move(self) -> None:
        """The folder is moved."""
        place = self.folder / f"moved_{self.rng.randrange(10**9)}"
        self.shop = Shop(self.shop.folder.rename(place))

    def check(self) -> None:
        """The published set is whole, and nobody who asked for it is anywhere."""
        assert matches_manifest(self.shop.published)
        if not self.is_copied:
            assert {table for user in self.gone for table in holding(self.shop, user)} == set()
        assert not any(n for user in self.gone for n in published_rows(self.shop, user).values())


# A run takes ten times as long as any other step.
STEPS: list[Callable[[Operation], None]] = [
    *(Operation.delivery, Operation.run) * 2,
    *(Operation.erasure, Operation.withdrawal, Operation.broken_delivery) * 2,
    *(Operation.backup, Operation.restore, Operation.copy) * 2,
    *(Operation.kill, Operation.clock, Operation.move),
]


def begin(base: Shop, folder: Path, seed: int) -> Operation:
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
    operation = Operation(shop, users, folder, random.Random(seed))
    operation.run()
    return operation


@pytest.mark.slow
@pytest.mark.fault("State", "random years of operation", "nobody comes back, published sets whole, as a fresh build")
@pytest.mark.parametrize("year", range(1, N_YEARS + 1))
def test_a_random_year_of_operation_loses_nothing_and_brings_nobody_back(base, tmp_path, capsys, year):
    operation = begin(base, tmp_path, seed=year)
    for number in range(N_STEPS):
        step = operation.rng.choice(STEPS)
        with capsys.disabled():
            print(f"year {year} of {N_YEARS}, step {number + 1} of {N_STEPS}: {step.__name__}", flush=True)
        step(operation)
        operation.check()
    operation.run()
    fresh = make_shop(tmp_path / "fresh", like=base)
    fresh.source.symlink_to(operation.shop.source)
    shutil.copy2(f"{operation.shop.warehouse}.ledger", f"{fresh.warehouse}.ledger")
    pin_model(fresh, of=base)
    fresh.build(**OPTIONS)
    assert_same(operation.shop, fresh, [*POSTERIORS, "user_stages"])
    shutil.rmtree(tmp_path)
    observe(f"{N_YEARS * N_STEPS} steps, {N_STEPS} a year")
