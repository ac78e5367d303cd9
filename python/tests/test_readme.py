"""Commands and figures of the README: the commands work and print these figures."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from conftest import generate_source
from project import PROJECT, Shop
from test_online_experiments import BY_MONTH, experiments, monthly_readings

pytestmark = pytest.mark.slow  # the demo takes a quarter of the suite
README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", README, flags=re.M | re.S)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the tracked files, with the environment that runs this test."""
    folder = tmp_path_factory.mktemp("read me") / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        if (PROJECT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    run(folder, "git init -q . && git add . && git -c user.name=test -c user.email=test@localhost commit -qm start")
    return folder


def run(checkout, command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LIFE_STAGE_", "MAKE"))}
    done = subprocess.run(
        command, shell=True, cwd=checkout, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def demo_output(checkout):
    return run(checkout, "make demo")


def comparable(text):
    """The lines without differences between runs: the run's name, trailing blanks."""
    return [re.sub(r"by run \w+", "by run ...", line.rstrip()) for line in text.strip().splitlines()]


def test_make_demo_prints_the_numbers_of_the_readme(demo_output):
    """Counts of rows to a thousandth: processors differ in the last digit of a probability at a limit."""
    shown = comparable(next(block for block in BLOCKS if block.startswith("Warehouse")))
    printed, number = comparable(demo_output)[-len(shown) :], r"\d[\d,]*"
    assert [re.sub(number, "#", line) for line in printed] == [re.sub(number, "#", line) for line in shown]
    found, wanted = (
        [int(text.replace(",", "")) for text in re.findall(number, "\n".join(lines))] for lines in (printed, shown)
    )
    assert found == pytest.approx(wanted, rel=1e-3, abs=0)


def test_the_monthly_command_runs_on_a_folder_of_your_own(checkout, demo_output, tmp_path):
    shop = Shop(tmp_path / "shop")
    generate_source(shop, users=2_000, months=8)
    command = next(block for block in BLOCKS if "/path/to/folder" in block).replace("/path/to/folder", str(shop.source))
    assert "users have a stage as of 2017-02" in run(checkout, command)
    assert (checkout / "published_mine" / "user_stages.parquet").exists()


def test_the_checkout_of_the_demo_is_personal_complementary_and_calibrated(checkout, demo_output):
    def rows(sql):
        with duckdb.connect(checkout / "published" / "life_stage.duckdb", read_only=True) as views:
            return views.sql(sql).fetchall()

    lists = "select string_agg(item_id, ',' order by rank) as items from checkout_recommendations group by user_id"
    ((n_distinct, n_lists),) = rows(f"select count(distinct items), count(*) from ({lists})")
    assert n_lists > 1_000 and n_distinct > 0.5 * n_lists
    together = "avg(cast(reason = 'together' as integer))"
    assert rows(f"select {together} > .5 and count(distinct item_id) > 500 from cart_complements") == [(True,)]
    hybrid = "where model = 'hybrid' and n_items >= 100 and n_items * relevant_share >= 50"
    ratios = [ratio for (ratio,) in rows(f"select ratio from checkout_calibration {hybrid}")]
    assert ratios and all(1 / 1.3 < ratio < 1.3 for ratio in ratios)


def test_experiments_without_effect_in_the_demo_keep_the_nominal_rate_under_monthly_reading(checkout, demo_output):
    """400 splits of the demo's users, read at the end of each of twelve months."""
    wanted = json.dumps({"experiments": experiments(400, first_month="2016-03")})
    run(checkout, f".venv/bin/dbt build --select experiments experiment_arms experiment_readout --vars '{wanted}'")
    with duckdb.connect(checkout / "warehouse" / "life_stage.duckdb", read_only=True) as warehouse:
        found, is_ever = monthly_readings(warehouse.execute(BY_MONTH.format(first="2016-03-01")).fetchall())
    assert found["month"].nunique() == 12
    assert is_ever["sequence"] <= 36 < is_ever["interval"], "within three and a half standard deviations of 20"


def test_the_readme_s_query_runs_on_the_published_views(checkout, demo_output):
    command = next(block for block in BLOCKS if "life_stage.duckdb" in block and "select" in block)
    assert "kindergarten" in run(checkout, command)


def test_the_real_sample_gives_the_accuracy_that_the_readme_states(checkout, demo_output):
    if "LIFE_STAGE_REAL_DATA" not in os.environ:
        pytest.skip("LIFE_STAGE_REAL_DATA does not name the folder of the real samples")
    folder = Path(os.environ["LIFE_STAGE_REAL_DATA"]) / "baby-purchases"
    block = next(block for block in BLOCKS if "--into data/baby" in block).replace("FOLDER", str(folder.resolve()))
    printed = run(checkout, block)
    accuracy, loss = map(float, re.search(r"^regression +(\S+) +(\S+)$", printed, flags=re.M).groups())
    assert accuracy >= 0.305 and loss <= 1.65
    assert f"{accuracy:.3f}".lstrip("0") in README and f"{loss:.3f}" in README


def test_the_checkout_stays_clean(checkout, demo_output):
    """But for the mappings of the folder of one's own, which belong into git."""
    assert run(checkout, "git status --porcelain") in ("", "?? mapping/\n")
