"""Faults of the machine or its other users: no data is lost, the published set stays, the next run recovers."""

import hashlib
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.impl import DuckDBAdapter
from dbt_common.exceptions import DbtRuntimeError
from project import assert_same, assert_stops
from reliability import observe

from life_stage.engine.engine_errors import explain_engine_errors, explained

READER = """
import sys, duckdb
reader = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
sys.stdin.read()
"""
LOG_LIKELIHOODS = ["stage_log_likelihoods", "birth_month_filter"]


def published_bytes(shop):
    """The published set, and the digest of each of its files."""
    files = sorted(path for path in shop.folder.glob("published.sets/**/*") if path.is_file())
    return shop.published_set(), [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def new_rows(shop, n_times):
    """Copies of February's actions with new ids."""
    february = f"{shop.source}/actions/month=2017-02/part-0000.parquet"
    copies = f"from '{february}', range({n_times}) as copies(n)"
    shop.write(
        "actions/month=2017-02/more.parquet",
        f"select * exclude (n) replace (action_id || '-' || n as action_id) {copies}",
    )


@pytest.mark.fault("Machine", "warehouse open in BI or a notebook", "LS-RUN-002, no change")
@pytest.mark.slow
def test_a_reader_of_the_working_file_stops_the_run_and_is_named(shop):
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(shop.warehouse)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert reader.stdout.readline() == "open\n"
        assert_stops(
            shop, "LS-RUN-002", "warehouse.duckdb cannot be opened", f"PID {reader.pid}", "nothing was changed"
        )
    finally:
        reader.communicate()


@pytest.mark.parametrize(
    ("code", "damaged"),
    [
        pytest.param(
            "LS-RUN-002",
            (0, 0.001),
            marks=pytest.mark.fault("Machine", "warehouse file not a database", "LS-RUN-002, nothing published"),
        ),
        pytest.param(
            "LS-RUN-005",
            (0.25, 0.75),
            marks=pytest.mark.fault("Machine", "corrupted warehouse", "LS-RUN-005, nothing published"),
        ),
        pytest.param(
            "LS-RUN-005",
            (0.01, 1),
            marks=pytest.mark.fault("Machine", "corrupted catalog of the warehouse", "LS-RUN-005, nothing published"),
        ),
    ],
)
def test_a_damaged_warehouse_stops_the_run(shop, code, damaged):
    contents = bytearray(shop.warehouse.read_bytes())
    begin, end = (int(share * len(contents)) for share in damaged)
    contents[begin:end] = bytes(byte ^ 0x55 for byte in contents[begin:end])
    shop.warehouse.write_bytes(contents)
    before = published_bytes(shop)
    finished = shop.start()
    assert finished.exit_code != 0 and code in finished.output, finished.output[-3000:]
    assert "Traceback" not in finished.output
    assert published_bytes(shop) == before
    observe("all published files unchanged")


@pytest.mark.parametrize(
    ("code", "how"),
    [
        pytest.param(
            "LS-RUN-003",
            {"file_bytes": 4_000_000},
            marks=pytest.mark.fault(
                "Machine",
                "full disk (ulimit -f)",
                "LS-RUN-003, published set kept, next run recovers",
            ),
        ),
        pytest.param(
            "LS-RUN-004",
            {"environment": {"LIFE_STAGE_MEMORY": "25MB"}},
            marks=[
                pytest.mark.fault(
                    "Machine",
                    "too little memory",
                    "LS-RUN-004, published set kept, next run recovers",
                ),
                pytest.mark.slow,
            ],
        ),
    ],
)
def test_a_run_without_disk_or_memory_keeps_the_published_set_and_the_next_run_recovers(shop, base, code, how):
    new_rows(shop, 15)
    shutil.rmtree(shop.folder / "logs", ignore_errors=True)  # dbt's own log must not fill the disk
    before = published_bytes(shop)
    finished = shop.start(**how)
    assert finished.exit_code != 0 and code in finished.output, finished.output[-3000:]
    assert published_bytes(shop) == before
    observe("all published files unchanged")
    (shop.source / "actions" / "month=2017-02" / "more.parquet").unlink()
    os.utime(shop.source / "actions" / "month=2017-02" / "part-0000.parquet")
    shop.build(only="+birth_month_filter +stage_scores +dynamic_fusion")
    assert_same(shop, base, ["stage_scores", "stage_log_likelihoods", "birth_month_filter", "dynamic_fusion"])
    observe("then posteriors as without the fault")


@pytest.mark.slow
@pytest.mark.fault(
    "Machine",
    "bot with 1,000,000 actions in a month, memory limit 1 GB",
    "rows kept, other users' posteriors unchanged",
)
def test_a_bot_changes_nothing_for_others(base, new_shop):
    new_shop.add_months(base, ["2016-07"])
    item = f"(select min(item_id) from '{base.source}/items.parquet')"
    new_shop.write(
        "actions/bot.parquet",
        f"""select 'bot-' || n as action_id, 'bot' as user_id, if(n % 3 = 0, 'search', 'click') as action,
            timestamp '2016-07-01' + interval (n * 2.6) second as occurred_at,
            case when n % 3 > 0 then {item} end as item_id, case when n % 3 = 0 then '奶粉' || n end as search_term
        from range(1000000) as actions(n)""",
    )
    new_shop.build(only="+birth_month_filter", environment={"LIFE_STAGE_MEMORY": "1GB"})
    assert new_shop.query("select count(*) from stg_actions where user_id = 'bot'") == [(1_000_000,)]
    assert new_shop.query("select count(*) from birth_month_filter where user_id = 'bot'") == [(1,)]
    new_shop.change(*(f"delete from {table} where user_id = 'bot'" for table in LOG_LIKELIHOODS))
    assert_same(new_shop, base, LOG_LIKELIHOODS, where="month = date '2016-07-01'")
    observe("other users' posteriors unchanged")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("IO Error: Could not write file: No space left on device", "LS-RUN-003"),
        ("Out of Memory Error: failed to allocate data of size 2.0 MiB (26.7 MiB/28.6 MiB used)", "LS-RUN-004"),
        ("Corrupt database file: computed checksum 1 does not match stored checksum 2 in block 3", "LS-RUN-005"),
        ("Invalid Input Error: CSV Error on Line: 3", "LS-SRC-006"),
        ("Invalid Input Error: LS-SRC-007 900 of 1000 rows of actions in x.parquet", "LS-SRC-007"),
        ('Catalog Error: Table with name "x" does not exist', "Catalog Error"),
    ],
)
def test_engine_errors_get_the_code_of_their_cause_and_keep_their_text(message, code):
    assert message in explained(message)
    assert explained(explained(message)) == explained(message)
    assert code in explained(message).splitlines()[0]


def test_python_models_and_sql_have_their_errors_explained(monkeypatch):
    """Publishing is a Python model, so a full disk raises an error of Python, not of the engine."""

    def submit(*_):
        raise DbtRuntimeError("Python model failed: OSError: [Errno 28] No space left on device")

    explain_engine_errors()
    monkeypatch.setattr(DuckDBConnectionManager, "env", lambda: SimpleNamespace(submit_python_job=submit))
    connection = SimpleNamespace(handle=None)
    adapter = SimpleNamespace(
        connections=SimpleNamespace(get_if_exists=lambda: connection, rollback_if_open=lambda: None),
        _resolve_flight_name=lambda env, model: model,
    )
    with pytest.raises(DbtRuntimeError, match="LS-RUN-003 the disk is full"):
        DuckDBAdapter.submit_python_job(adapter, {}, "")
    with (
        pytest.raises(DbtRuntimeError, match="LS-RUN-004"),
        DuckDBConnectionManager.exception_handler(adapter.connections, "select 1"),
    ):
        raise RuntimeError("Out of Memory Error: could not allocate block")
