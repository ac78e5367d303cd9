"""Backups of the warehouse: complete after any kill, restored without other content."""

import signal
import subprocess
import sys

import duckdb
import pytest
from project import assert_same

from life_stage.engine.ledger import ledger_of
from life_stage.operations import backup
from life_stage.operations.backup import copies_there, digest_of, restore, save

WRITER = """
import duckdb, os, signal, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("set wal_autocheckpoint = '1TB'")
connection.execute("insert into notes values ('committed before the kill')")
os.kill(os.getpid(), signal.SIGKILL)
"""

KILLED = """
import os, signal, sys
from pathlib import Path
from life_stage.operations import backup
real = os.replace
def replace(old, new):
    if str(old).endswith(".unfinished"):
        os.kill(os.getpid(), signal.SIGKILL)
    real(old, new)
os.replace = replace
getattr(backup, sys.argv[1])(*map(Path, sys.argv[2:]))
"""


@pytest.fixture
def warehouse(tmp_path):
    """A database with one row that is in the file, and one that a killed writer left in the write-ahead log."""
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("create table notes as select 'first' as note")
    killed = subprocess.run([sys.executable, "-c", WRITER, str(path)])
    assert killed.returncode == -signal.SIGKILL and path.with_name("warehouse.duckdb.wal").exists()
    return path


def notes(path):
    with duckdb.connect(path, read_only=True) as connection:
        return [note for (note,) in connection.execute("select note from notes order by note desc").fetchall()]


def in_process(code, *arguments):
    """The lock is held until a process ends, so each operation gets one of its own."""
    command = [sys.executable, "-m", "life_stage.commands.command_line", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_copy_holds_what_a_killed_writer_had_committed(warehouse, tmp_path):
    copy = save(warehouse, tmp_path / "backups")
    assert notes(copy) == ["first", "committed before the kill"]
    assert not copy.with_name(copy.name + ".wal").exists()


def test_restoring_puts_back_what_was_saved_and_keeps_what_was_there(warehouse, tmp_path):
    """The write-ahead log moves with the old warehouse, so its rows enter no other file."""
    copy = save(warehouse, tmp_path / "backups")
    with duckdb.connect(warehouse) as connection:
        connection.execute("delete from notes where note = 'first'")
    subprocess.run([sys.executable, "-c", WRITER, str(warehouse)])
    kept = restore(copy, warehouse)
    assert notes(warehouse) == ["first", "committed before the kill"]
    assert notes(kept) == ["committed before the kill"] * 2
    assert notes(copy) == ["first", "committed before the kill"]


def test_what_was_there_is_kept_at_every_restore_and_can_be_put_back(warehouse, tmp_path):
    copy = save(warehouse, tmp_path / "backups")
    with duckdb.connect(warehouse) as connection:
        connection.execute("insert into notes values ('the newest')")
    first, second = restore(copy, warehouse), restore(copy, warehouse)
    assert first != second and "the newest" in notes(first)
    restore(first, warehouse)
    assert "the newest" in notes(warehouse)


def test_a_lost_ledger_comes_back_with_a_backup_which_is_restored_without_one_too(warehouse, tmp_path):
    ledger = ledger_of(warehouse)
    ledger.append([{"kind": "clock", "value": "2017-03-02"}])
    with duckdb.connect(warehouse) as connection:
        connection.execute("create table project_state as select 'ledger' as key, ? as value", [ledger.mark()])
    copy = save(warehouse, tmp_path / "backups")
    for path in (warehouse, ledger.path):
        path.unlink()
    restore(copy, warehouse)
    assert ledger.newest("clock") == "2017-03-02"
    for path in (warehouse, ledger.path, *(tmp_path / "backups").glob("*.ledger")):
        path.unlink()
    restore(copy, warehouse)
    assert notes(warehouse) == notes(copy) and not ledger.path.exists()


def test_copies_are_as_private_as_the_warehouse(warehouse, tmp_path):
    warehouse.chmod(0o600)
    copy = save(warehouse, tmp_path / "backups")
    restore(copy, warehouse)
    assert [path.stat().st_mode & 0o777 for path in (copy, warehouse)] == [0o600, 0o600]


@pytest.mark.fault("Machine", "a new folder of backups", "its owner's alone")
def test_backups_are_in_a_folder_of_their_owner(warehouse, tmp_path):
    """The folder alone is closed: the file is as private as the warehouse."""
    save(warehouse, tmp_path / "all" / "backups")
    assert (tmp_path / "all" / "backups").stat().st_mode & 0o777 == 0o700


@pytest.mark.fault("Kills", "backup or restore killed while it copies", "the copy is removed by the next command")
@pytest.mark.parametrize("operation", ["save", "restore"])
def test_an_unfinished_copy_is_removed_by_the_next_command(warehouse, tmp_path, monkeypatch, operation):
    folder = tmp_path / "backups"
    monkeypatch.setenv("LIFE_STAGE_WAREHOUSE", str(warehouse))
    assert in_process("backup", "--into", folder).returncode == 0
    (copy,) = folder.glob("*.duckdb")
    words = [warehouse, folder] if operation == "save" else [copy, warehouse]
    killed = subprocess.run([sys.executable, "-c", KILLED, operation, *map(str, words)])
    assert killed.returncode == -signal.SIGKILL and [*tmp_path.rglob("*.unfinished")]
    assert in_process("restore", copy).returncode == 0
    assert not [*tmp_path.rglob("*.unfinished")] and notes(warehouse) == ["first", "committed before the kill"]


def test_a_copy_that_fails_leaves_no_file(warehouse, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "file_digest", full)
    with pytest.raises(OSError, match="No space"):
        save(warehouse, tmp_path / "backups")
    assert not [*(tmp_path / "backups").iterdir()]


def test_backups_and_replaced_warehouses_are_known_wherever_they_were_written(warehouse, tmp_path):
    before, after = save(warehouse, tmp_path / "one place"), save(warehouse, tmp_path / "another")
    kept = restore(before, warehouse)
    assert copies_there(warehouse) == sorted([before, after, kept])
    before.unlink()
    assert copies_there(warehouse) == sorted([after, kept])


def test_a_damaged_copy_is_refused(warehouse, tmp_path):
    copy = save(warehouse, tmp_path / "backups")
    content = bytearray(copy.read_bytes())
    content[5000] ^= 1
    copy.write_bytes(content)
    with pytest.raises(ValueError, match="LS-BAK-002"):
        restore(copy, warehouse)
    digest_of(copy).write_text("")
    with pytest.raises(ValueError, match="LS-BAK-002"):
        restore(copy, warehouse)
    assert notes(warehouse) == ["first", "committed before the kill"]


def test_a_warehouse_behind_a_link_is_put_back_behind_it(warehouse, tmp_path):
    copy, link = save(warehouse, tmp_path / "backups"), tmp_path / "link.duckdb"
    link.symlink_to(warehouse)
    kept = restore(copy, link)
    assert link.is_symlink() and link.resolve() == warehouse.resolve() and not kept.is_symlink()
    assert notes(link) == ["first", "committed before the kill"]


def test_a_missing_warehouse_and_a_missing_copy_are_errors(tmp_path):
    with pytest.raises(ValueError, match="LS-BAK-001"):
        save(tmp_path / "none.duckdb", tmp_path)
    with pytest.raises(ValueError, match="LS-BAK-002"):
        restore(tmp_path / "none.duckdb", tmp_path / "warehouse.duckdb")


def test_while_a_run_holds_the_warehouse_nothing_is_copied_or_replaced(warehouse, tmp_path, monkeypatch):
    copy = save(warehouse, tmp_path / "backups")  # this process now holds the lock
    monkeypatch.setenv("LIFE_STAGE_WAREHOUSE", str(warehouse))
    for words in (("backup", "--into", tmp_path / "more"), ("restore", copy)):
        refused = in_process(*words)
        assert refused.returncode == 1 and "LS-RUN-001" in refused.stderr
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(
    "lost",
    [
        "birth_month_filter_cells",
        pytest.param("nothing", marks=pytest.mark.slow),
        pytest.param("dynamic_fusion", marks=pytest.mark.slow),
    ],
)
def test_posteriors_are_rebuilt_from_stored_log_likelihoods(base, shop, lost):
    """Changed or lost posteriors are rebuilt unchanged; no month is scored again."""
    scored = shop.run_of_months("stage_log_likelihoods")
    shop.change("update birth_month_filter set log_marginal_likelihood = -1", f"drop table if exists {lost}")
    finished = shop.operate("rebuild-posteriors")
    assert finished.exit_code == 0, finished.output
    shop.build(only="birth_month_filter dynamic_fusion presence_filter household_children")
    assert_same(shop, base, ["birth_month_filter", "dynamic_fusion", "presence_filter", "household_children"])
    newest = "month = (select max(month) from birth_month_filter_cells)"
    assert_same(shop, base, ["birth_month_filter_cells", "dynamic_fusion_cells"], where=newest)
    assert shop.run_of_months("stage_log_likelihoods") == scored
