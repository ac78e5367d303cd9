"""Checks before a run, each with its remedy: python -m life_stage.doctor."""

import fcntl
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from life_stage import paths
from life_stage.publishing import refuse_foreign

TABLES = ("actions", "items", "children")
ROOM = 3  # free disk wanted, times the size of the source: the warehouse, its log, two published sets


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is well, and if not, what to do."""

    what: str
    is_well: bool
    remedy: str = ""

    def __str__(self) -> str:
        return f"ok      {self.what}" if self.is_well else f"WRONG   {self.what}: {self.remedy}"


def findings(project: Path, source: Path, warehouse: Path, published: Path) -> Iterator[Finding]:
    """Every check, in the order in which a run would stumble."""
    found = sys.version_info[:2]
    yield Finding(f"Python {found[0]}.{found[1]}", (3, 11) <= found <= (3, 13), "use Python 3.11, 3.12 or 3.13")
    others = other_versions(project / "requirements.lock")
    yield Finding(f"{others or 'the locked'} versions of packages", not others, "remove .venv and run make demo")
    for table in TABLES:
        files = [path for path in [*source.glob(f"{table}.*"), *(source / table).rglob("*.*")] if path.is_file()]
        yield Finding(
            f"{len(files)} files of {table} in {source}", bool(files), "LS-SRC-001 set LIFE_STAGE_SOURCE, or add it"
        )
    size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    place = next(folder for folder in warehouse.absolute().parents if folder.exists())
    free = shutil.disk_usage(place).free
    yield Finding(
        f"{free / 1e9:.1f} GB free at {place} for a source of {size / 1e9:.1f} GB", free >= ROOM * size, "make room"
    )
    yield Finding(f"{place} can be written", os.access(place, os.W_OK), "name another LIFE_STAGE_WAREHOUSE")
    holder = holder_of(warehouse)
    yield Finding(
        f"{warehouse} is {'in use by ' + holder if holder else 'free'}",
        not holder,
        "LS-RUN-001 wait until it has ended",
    )
    try:
        refuse_foreign(published.absolute())
        yield Finding(f"{published} is free or a link to marts", True)
    except ValueError as error:
        yield Finding(str(published), False, str(error))


def other_versions(lock: Path) -> str:
    """Packages whose installed version is not the locked one; those that this Python does not need are left out."""
    wanted = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", lock.read_text(), flags=re.M)
    found = []
    for name, locked in wanted:
        try:
            if version(name) != locked:
                found.append(f"{name} {version(name)} in place of {locked}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def holder_of(warehouse: Path) -> str:
    """The run that holds the warehouse's lock; empty: none does."""
    lock = warehouse.with_name(warehouse.name + ".lock")
    if not lock.exists():
        return ""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return file.read() or "another process"
    return ""


def main() -> int:
    """Print the findings; returns how many are not well."""
    n_wrong = 0
    for finding in findings(
        Path(),
        paths.source(),
        paths.warehouse(),
        paths.published(),
    ):
        print(finding)
        n_wrong += not finding.is_well
    return n_wrong


if __name__ == "__main__":
    sys.exit(min(main(), 1))
