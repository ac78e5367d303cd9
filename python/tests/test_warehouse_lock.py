"""Lock of the warehouse: one run at a time, named holder, release."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dbt_common.exceptions import DbtRuntimeError

from life_stage.engine.warehouse_lock import take_lock

PYTHON_FOLDER = Path(__file__).parents[1]
HOLDER = """
import sys, time
from pathlib import Path
from life_stage.engine.warehouse_lock import take_lock
take_lock(Path(sys.argv[1]))
print("taken", flush=True)
time.sleep(600)
"""


@pytest.fixture
def warehouse(tmp_path):
    return tmp_path / "warehouse.duckdb"


@pytest.fixture
def holder(warehouse):
    """A process that holds the warehouse's lock."""
    command = [sys.executable, "-c", HOLDER, warehouse]
    environment = os.environ | {"PYTHONPATH": str(PYTHON_FOLDER)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def test_a_second_process_fails_and_the_holder_of_the_warehouse_is_named(holder, warehouse):
    with pytest.raises(DbtRuntimeError, match=rf"LS-RUN-001 \S+warehouse.duckdb is in use by process {holder.pid} on "):
        take_lock(warehouse)


def test_a_failed_attempt_keeps_the_name_of_the_holder(holder, warehouse):
    for _ in range(2):
        with pytest.raises(DbtRuntimeError, match=f"process {holder.pid} "):
            take_lock(warehouse)


def test_one_process_may_take_the_lock_twice(tmp_path):
    take_lock(tmp_path / "warehouse.duckdb")
    take_lock(tmp_path / "warehouse.duckdb")


def test_warehouses_do_not_block_one_another(holder, warehouse):
    take_lock(warehouse.with_name("another.duckdb"))


def test_the_folder_of_a_new_warehouse_is_made(tmp_path):
    take_lock(tmp_path / "new" / "folder" / "warehouse.duckdb")
    assert (tmp_path / "new" / "folder" / "warehouse.duckdb.lock").exists()


def test_a_second_dbt_run_is_refused_before_the_file_is_opened(holder, warehouse, tmp_path):
    """By the profile, as in a run: not DuckDB's own message about a lock."""
    project = PYTHON_FOLDER.parent
    environment = os.environ | {
        "LIFE_STAGE_WAREHOUSE": str(warehouse),
        "LIFE_STAGE_SOURCE": str(tmp_path),
        "DBT_PROFILES_DIR": str(project),
        "PYTHONPATH": str(PYTHON_FOLDER),
        "DO_NOT_TRACK": "1",
    }
    command = [str(Path(sys.executable).with_name("dbt")), "--no-use-colors", "debug", "--connection"]
    command += ["--log-path", str(tmp_path / "logs")]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"LS-RUN-001 {warehouse} is in use by process {holder.pid}" in done.stdout
    assert not warehouse.exists()


@pytest.mark.fault("Kills", "lock of a killed run", "released at once")
def test_a_killed_holder_frees_the_warehouse(holder, warehouse):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    take_lock(warehouse)
