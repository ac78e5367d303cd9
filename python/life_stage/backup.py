"""Backup and restore of the warehouse as one file: python -m life_stage.backup save | restore FILE."""

import argparse
import os
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from dbt_common.exceptions import DbtRuntimeError

from life_stage import paths
from life_stage.publishing import kept_whole
from life_stage.warehouse_lock import take_lock


def save(warehouse: Path, folder: Path) -> Path:
    """Copy the warehouse, with all that a killed run had committed, into the folder; returns the copy's path.

    Raises ValueError LS-BAK-001 when there is no warehouse, DbtRuntimeError LS-RUN-001 while a run holds it.
    """
    if not warehouse.exists():
        raise ValueError(f"LS-BAK-001 there is no warehouse {warehouse}: set LIFE_STAGE_WAREHOUSE; nothing was changed")
    take_lock(warehouse.resolve())
    with duckdb.connect(warehouse) as connection:
        connection.execute("checkpoint")  # what only the write-ahead log holds comes into the file
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{warehouse.stem}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.duckdb"
    write_digest(copy, copy_whole(warehouse, copy))
    return copy


def restore(copy: Path, warehouse: Path) -> Path | None:
    """Put a saved warehouse in the place of the present one, which is kept beside it; returns where, None without one.

    Raises ValueError LS-BAK-002 when the copy is not as it was saved, DbtRuntimeError LS-RUN-001 while a run holds the
    warehouse.
    """
    warehouse = warehouse.resolve()
    if not (digest_of(copy).exists() and digest_of(copy).read_text().split()[:1] == [digest(copy)]):
        raise ValueError(f"LS-BAK-002 {copy} is not as it was saved: give another one; nothing was changed")
    take_lock(warehouse)
    fresh = warehouse.with_name(warehouse.name + ".restoring")
    kept = warehouse.with_name(f"{warehouse.name}.before_restore-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    copy_whole(copy, fresh)
    had_one = warehouse.exists()
    if had_one:
        with suppress(duckdb.Error), duckdb.connect(warehouse) as connection:  # a damaged one is kept as it is
            connection.execute("checkpoint")
        os.link(warehouse, kept)
        write_digest(kept, digest(kept))
    log = warehouse.with_name(warehouse.name + ".wal")
    if log.exists():
        os.replace(log, kept.with_name(kept.name + ".wal"))  # another warehouse's log must never meet this one
    os.replace(fresh, warehouse)
    return kept if had_one else None


def copy_whole(source: Path, target: Path) -> str:
    """Copy a file so that under its name it is whole and on the disk, or not there; returns its digest."""
    unfinished = target.with_name(target.name + ".unfinished")
    shutil.copy(source, unfinished)
    sha256 = digest(unfinished)
    os.replace(unfinished, target)
    return sha256


def digest_of(copy: Path) -> Path:
    """The file that holds the copy's digest, in the form that sha256sum checks."""
    return copy.with_name(copy.name + ".sha256")


def write_digest(copy: Path, sha256: str) -> None:
    """Say beside a copy what it must be for restore to take it."""
    digest_of(copy).write_text(f"{sha256}  {copy.name}\n")


def digest(path: Path) -> str:
    """SHA-256 of a file, which is on the disk for good then; of one that is not there, an empty text."""
    return str(kept_whole(path)["sha256"]) if path.exists() else ""


def main(arguments: list[str]) -> None:
    """Do what the arguments say and print where the files lie."""
    parser = argparse.ArgumentParser(prog="python -m life_stage.backup", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("save", help="copy the warehouse").add_argument("--into", type=Path, default="warehouse/backups")
    actions.add_parser("restore", help="put a copy back").add_argument("copy", type=Path)
    options = parser.parse_args(arguments)
    warehouse = paths.warehouse()
    if options.action == "save":
        print(f"{warehouse} is saved as {save(warehouse, options.into)}")
    else:
        kept = restore(options.copy, warehouse)
        print(f"{warehouse} is as it was saved" + (f"; what it was is kept as {kept}" if kept else ""))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, DbtRuntimeError) as error:
        sys.exit(str(error))
    except (OSError, duckdb.Error) as error:
        sys.exit(f"LS-BAK-003 {error}: mend what it says and do the same again; the warehouse was not replaced")
