"""Backup of the warehouse as one checked file, and its restore."""

import glob
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from life_stage.engine.ledger import RESTORING, Ledger, ledger_of
from life_stage.engine.warehouse_lock import take_lock
from life_stage.paths import copies_note, copies_of, unfinished, write_whole
from life_stage.publishing import sync_to_disk


def save(warehouse: Path, folder: Path) -> Path:
    """Copy the warehouse, including all commits of a killed run, into the folder; returns the copy's path.

    Raises ValueError LS-BAK-001 without a warehouse, LS-LED-001 or -002 if its ledger is lost or was changed, so that
    the copy of the ledger stays, DbtRuntimeError LS-RUN-001 while a run holds the warehouse.
    """
    if not warehouse.exists():
        raise ValueError(f"LS-BAK-001 there is no warehouse {warehouse}: set LIFE_STAGE_WAREHOUSE; nothing was changed")
    take_lock(warehouse.resolve())
    with duckdb.connect(warehouse) as connection:
        connection.execute("checkpoint")  # moves the write-ahead log into the file
    ledger = ledger_of(warehouse.resolve())
    ledger.unapplied(applied_by(warehouse))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = folder.resolve() / f"{warehouse.stem}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.duckdb"
    listed = [*filter(Path.exists, copies_of(warehouse.resolve())), copy]
    write_whole(copies_note(warehouse.resolve()), "".join(f"{file}\n" for file in listed))
    write_digest(copy, copy_atomically(warehouse, copy))
    if ledger.path.exists():
        copy_atomically(ledger.path, copy.with_suffix(".ledger"))
    return copy


def restore(copy: Path, warehouse: Path, erase_again: Callable[[Path], None] | None = None) -> Path | None:
    """Replace the warehouse by a backup; returns the path of the previous warehouse, None without one.

    erase_again: erases the users whom the ledger names from a warehouse, before it is put in place. Without a ledger
    beside the warehouse that beside the backup is copied; without that too, the next run stops. Raises ValueError
    LS-BAK-002 when the backup does not match its digest, LS-LED-002, DbtRuntimeError LS-RUN-001 while a run holds the
    warehouse.
    """
    warehouse = warehouse.resolve()
    if not (digest_of(copy).exists() and digest_of(copy).read_text().split()[:1] == [file_digest(copy)]):
        raise ValueError(f"LS-BAK-002 {copy} does not match its digest: restore another backup; nothing was changed")
    take_lock(warehouse)
    restored = warehouse.with_name(warehouse.name + RESTORING) / warehouse.name
    previous = warehouse.with_name(f"{warehouse.name}.before_restore-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    ledger, applied = ledger_of(warehouse), applied_by(copy)
    if not ledger.path.exists() and not warehouse.exists() and (saved := newest_ledger(copy.parent, applied)):
        copy_atomically(saved.path, ledger.path)
    restored.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        copy_atomically(copy, restored)
        # A backup of before the ledger may need a migration first: the run after it applies the ledger.
        if erase_again and applied is not None and ledger.path.exists() and is_behind(ledger, applied):
            erase_again(restored)
        return put_in_place(restored, warehouse, previous)
    finally:
        shutil.rmtree(restored.parent)


def put_in_place(restored: Path, warehouse: Path, previous: Path) -> Path | None:
    """Rename the restored file to the warehouse, which is kept as `previous`; returns that, None without one."""
    is_replaced = warehouse.exists()
    if is_replaced:
        with suppress(duckdb.Error), duckdb.connect(warehouse) as connection:  # a damaged file is kept unchanged
            connection.execute("checkpoint")
        os.link(warehouse, previous)
        write_digest(previous, file_digest(previous))
    log = warehouse.with_name(warehouse.name + ".wal")
    if log.exists():
        os.replace(log, previous.with_name(previous.name + ".wal"))  # must not be applied to the restored file
    os.replace(restored, warehouse)
    return previous if is_replaced else None


def applied_by(warehouse: Path) -> str | None:
    """What the warehouse has applied of its ledger: see Ledger.unapplied."""
    with duckdb.connect(warehouse, read_only=True) as connection:
        try:
            found = connection.execute("select value from project_state where key = 'ledger'").fetchone()
        except duckdb.CatalogException:  # of no table, or of none yet
            return None
    return found and found[0]


def is_behind(ledger: Ledger, applied: str) -> bool:
    """True if the ledger names users whom a warehouse with this mark has not erased, or has been rebuilt since."""
    return not ledger.is_of(applied) or any("salt" in entry for entry in ledger.unapplied(applied))


def newest_ledger(folder: Path, applied: str | None) -> Ledger | None:
    """The longest of the ledgers beside backups that is of the warehouse with this mark."""
    of_warehouse = [ledger for ledger in map(Ledger, folder.glob("*.ledger")) if applied and ledger.is_of(applied)]
    return max(of_warehouse, key=lambda ledger: len(ledger.entries()), default=None)


def copies_there(warehouse: Path) -> list[Path]:
    """Backups and replaced warehouses that are still where save and restore wrote them, listed or not."""
    folders = {warehouse.parent, Path("warehouse/backups").resolve(), *(copy.parent for copy in copies_of(warehouse))}
    patterns = (
        f"{glob.escape(warehouse.stem)}-[0-9]*T[0-9]*.duckdb",
        f"{glob.escape(warehouse.name)}.before_restore-*[0-9]",
    )
    found = {file for folder in folders for pattern in patterns for file in folder.glob(pattern)}
    return sorted(file for file in found if file.suffix != ".sha256")


def copy_atomically(source: Path, target: Path) -> str:
    """Copy a file by an atomic rename after it is on disk; returns its digest."""
    new = unfinished(target)
    try:
        shutil.copy(source, new)
        sha256 = file_digest(new)
        os.replace(new, target)
    finally:
        new.unlink(missing_ok=True)
    return sha256


def digest_of(copy: Path) -> Path:
    """Path of the copy's digest file, in the format of sha256sum."""
    return copy.with_name(copy.name + ".sha256")


def write_digest(copy: Path, sha256: str) -> None:
    """Write the digest file that restore checks."""
    digest_of(copy).write_text(f"{sha256}  {copy.name}\n")


def file_digest(path: Path) -> str:
    """SHA-256 of a file after fsync; empty if it does not exist."""
    return str(sync_to_disk(path)["sha256"]) if path.exists() else ""
