"""Preflight checks of the environment, source, disk and locks, with remedies, and what a run would read."""

import fcntl
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import duckdb

from life_stage import paths
from life_stage.commands.preview import preview
from life_stage.engine.contract import TABLES
from life_stage.engine.project_macros import project_settings
from life_stage.publishing import refuse_foreign

DISK_FACTOR = 3  # free disk per source size: the warehouse, its log, two published sets


@dataclass(frozen=True)
class Finding:
    """A check, its result, and the remedy of a failure."""

    check: str
    is_ok: bool
    remedy: str = ""

    def __str__(self) -> str:
        return f"ok      {self.check}" if self.is_ok else f"WRONG   {self.check}: {self.remedy}"


def findings(project: Path, source: Path, warehouse: Path, published: Path, schema: str = "") -> Iterator[Finding]:
    """Every check, in the order in which a run would fail. schema: of tables in place of the source's files."""
    found = sys.version_info[:2]
    yield Finding(f"Python {found[0]}.{found[1]}", (3, 11) <= found <= (3, 13), "use Python 3.11, 3.12 or 3.13")
    others = other_versions(project / "requirements.lock")
    yield Finding(f"{others or 'the locked'} versions of packages", not others, "remove .venv and run make demo")
    for table in () if schema else TABLES:
        files, wrong = paths.source_files(table, source)
        links = ", ".join(paths.links_to(files, source))
        yield Finding(
            f"{len(files)} files of {table} in {source}" + f", through the links {links}" * bool(links),
            (bool(files) or table == "children") and not wrong,
            "; ".join(wrong) or "LS-SRC-001 set LIFE_STAGE_SOURCE, or add it",
        )
    places = [source / name for name in paths.files_within(source)]
    size = 0 if schema else sum(place.stat().st_size for place in places if place.exists())
    parent = next(folder for folder in warehouse.absolute().parents if folder.exists())
    free = shutil.disk_usage(parent).free
    yield Finding(
        f"{free / 1e9:.1f} GB free in {parent} for a source of {size / 1e9:.1f} GB",
        free >= DISK_FACTOR * size,
        "free disk space",
    )
    yield Finding(f"{parent} is writable", os.access(parent, os.W_OK), "set another LIFE_STAGE_WAREHOUSE")
    holder = holder_of(warehouse)
    yield Finding(
        f"{warehouse} is {'in use by ' + holder if holder else 'free'}",
        not holder,
        "LS-RUN-001 wait until it has ended",
    )
    for message in () if holder else failed_checks(warehouse):
        yield Finding("newest delivery", False, message)
    try:
        refuse_foreign(published)
        yield Finding(f"{published} is free or a link to marts", True)
    except ValueError as error:
        yield Finding(str(published), False, str(error))


def other_versions(lock: Path) -> str:
    """Installed packages whose version differs from the lock file's."""
    found = []
    for name, locked in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", lock.read_text(), flags=re.M):
        try:
            if version(name) != locked:
                found.append(f"{name} {version(name)} in place of {locked}")
        except PackageNotFoundError:  # not needed by this version of Python
            continue
    return ", ".join(found)


def failed_checks(warehouse: Path) -> list[str]:
    """Messages of the checks that the newest delivery failed; none without a warehouse."""
    if not warehouse.exists():
        return []
    try:
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            return [text for (text,) in connection.sql("select message from delivery_checks where is_wrong").fetchall()]
    except duckdb.Error:  # no run finished yet
        return []


def holder_of(warehouse: Path) -> str:
    """The run that holds the warehouse's lock; empty if it is free."""
    lock = warehouse.with_name(warehouse.name + ".lock")
    if not lock.exists():
        return ""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return file.read() or "another process"
    return ""


def main(is_json: bool = False, **given: object) -> int:
    """Print the findings and the preview of the source; given: vars. Returns 1 if something is wrong."""
    found, source = [], preview(**given)
    schema = str((project_settings() | given)["source_schema"])
    for finding in findings(Path(), paths.source(), paths.warehouse(), paths.published(), schema):
        found.append(finding)
        if not is_json:
            print(finding)
    if is_json:
        print(json.dumps({"checks": [asdict(finding) for finding in found], "source": asdict(source)}, indent=2))
    else:
        print("\n".join(source.lines()))
    return int(bool(source.wrong) or not all(finding.is_ok for finding in found))
