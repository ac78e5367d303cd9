"""Backup of the warehouse as one checked file, and its restore."""

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from life_stage.engine.warehouse_lock import take_lock
from life_stage.publishing import sync_to_disk


def save(warehouse: Path, folder: Path) -> Path:
    """Copy the warehouse, including all commits of a killed run, into the folder; returns the copy's path.

    Raises ValueError LS-BAK-001 without a warehouse, DbtRuntimeError LS-RUN-001 while a run holds it.
    """
    if not warehouse.exists():
        raise ValueError(f"LS-BAK-001 there is no warehouse {warehouse}: set LIFE_STAGE_WAREHOUSE; nothing was changed")
    take_lock(warehouse.resolve())
    with duckdb.connect(warehouse) as connection:
        connection.execute("checkpoint")  # moves the write-ahead log into the file
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{warehouse.stem}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.duckdb"
    write_digest(copy, copy_atomically(warehouse, copy))
    return copy


def restore(copy: Path, warehouse: Path) -> Path | None:
    """Replace the warehouse by a backup; returns the path of the previous warehouse, None without one.

    Raises ValueError LS-BAK-002 when the backup does not match its digest, DbtRuntimeError LS-RUN-001 while a run holds
    the warehouse.
    """
    warehouse = warehouse.resolve()
    if not (digest_of(copy).exists() and digest_of(copy).read_text().split()[:1] == [file_digest(copy)]):
        raise ValueError(f"LS-BAK-002 {copy} does not match its digest: restore another backup; nothing was changed")
    take_lock(warehouse)
    restored = warehouse.with_name(warehouse.name + ".restoring")
    previous = warehouse.with_name(f"{warehouse.name}.before_restore-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    copy_atomically(copy, restored)
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


def copy_atomically(source: Path, target: Path) -> str:
    """Copy a file by an atomic rename after it is on disk; returns its digest."""
    unfinished = target.with_name(target.name + ".unfinished")
    shutil.copy(source, unfinished)
    sha256 = file_digest(unfinished)
    os.replace(unfinished, target)
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
