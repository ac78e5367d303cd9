"""Fixtures of the tests that run the whole monthly job; each run is a separate process (see project.py)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

sys.path.append(str(Path(__file__).parent))

from project import (
    OPTIONS,
    PROJECT,
    UNLOGGED,
    Shop,
    copy_shop,
    made_once,
    make_shop,
    pin_model,
    shared_folder,
    start_forks,
)
from reliability import pytest_addoption, pytest_configure, pytest_runtest_call, pytest_runtest_makereport  # noqa: F401

EVALUATED_FROM = "2016-11"  # after eight months of training data
CHECKOUT = "path:models/checkout published_marts"
CHECKOUT_VARS = {"checkout_months": 2, "checkout_queries": 150, "checkout_items": 300}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Tests with a shop first: while one process makes the shops, the other begins with the second half."""
    items.sort(key=lambda item: not {"base", "checkout"} & set(item.fixturenames))


def generate_source(shop: Shop, users: int, months: int) -> None:
    """Write simulated users of the months through 2017-02, most of them parents, without their ground truth."""
    wanted = {"users": users, "months": months, "through": "2017-02", "seed": 1, "out": shop.source}
    wanted["childless-share"] = 0.04
    arguments = [str(word) for name, value in wanted.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-m", "life_stage_demo.generate", *arguments]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(PROJECT / "python")})
    shutil.rmtree(shop.source / "truth")


def settle(shop: Shop) -> None:
    """Write the log of changes that a run leaves beside the warehouse into it, which else every reader does."""
    with duckdb.connect(shop.warehouse) as connection:
        connection.execute("checkpoint")


@pytest.fixture(scope="session")
def parsed(tmp_path_factory):
    """A shop with the parsed project alone; runs are forked from a process that has parsed it."""
    folder = shared_folder(tmp_path_factory) / "parsed"
    start_forks(folder)
    return Shop(folder)


@pytest.fixture(scope="session")
def base(parsed, tmp_path_factory):
    """A shop of 400 users and 8 months, 2016-07 to 2017-02, built in one go: copy it, never change it.

    Data tests run on the evaluated shop, on its checkout and after an erasure.
    """

    def make(folder: Path) -> None:
        shop = make_shop(folder, like=parsed)
        generate_source(shop, users=400, months=8)
        finished = shop.dbt("build", *OPTIONS, "test", *UNLOGGED[:2])  # with its manifest
        assert finished.exit_code == 0, finished.output[-5000:]
        settle(shop)

    return Shop(made_once(tmp_path_factory, "base", make))


@pytest.fixture(scope="session")
def evaluated(base, tmp_path_factory):
    """A shop of 1,500 users and 12 months, 2016-03 to 2017-02, the last four evaluated: copy it, never change it."""

    def make(folder: Path) -> None:
        shop = make_shop(folder, like=base)
        generate_source(shop, users=1_500, months=12)
        shop.build(checked=True, evaluation_from=EVALUATED_FROM)
        settle(shop)

    return Shop(made_once(tmp_path_factory, "evaluated", make))


@pytest.fixture(scope="session")
def checkout(evaluated, tmp_path_factory):
    """The evaluated shop with a checkout for 2017-03, evaluated on 2017-01 and 2017-02: copy it, never change it."""

    def make(folder: Path) -> None:
        shop = copy_shop(evaluated, folder / "shop")
        shop.build(checked=True, only=CHECKOUT, **CHECKOUT_VARS)
        settle(shop)

    return Shop(made_once(tmp_path_factory, "checkout", make) / "shop")


@pytest.fixture
def shop(base, tmp_path):
    """A copy of the base after its run: change its source and run the job again."""
    return copy_shop(base, tmp_path / "shop")


@pytest.fixture
def bare_shop(base, tmp_path):
    """A shop before its first run: the items and children of the base, no actions, no model."""
    shop = make_shop(tmp_path / "new_shop", like=base)
    shop.source.mkdir()
    for file in ("items.parquet", "children.parquet"):
        shutil.copy2(base.source / file, shop.source)
    return shop


@pytest.fixture
def new_shop(base, bare_shop):
    """A bare shop with the model of the base, so that their predictions are comparable."""
    pin_model(bare_shop, of=base)
    return bare_shop
