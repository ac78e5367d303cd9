"""The ledger beside the warehouse: what a restored or copied warehouse must not undo.

`<warehouse>.ledger` has one JSON object a line, is only appended to, and names no user: erased users and users without
consent as salted digests, runs that have published, and the newest clock. Each line holds the digest of the line before
it. The warehouse records how many lines it has applied (`ledger` in project_state), so a run, or a restore, applies the
rest. The manifest of the published set records how many there were, so that a ledger which is put back with the
warehouse, as by a snapshot of their disk, is noticed.
"""

import fcntl
import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from life_stage import paths

IN_MANIFEST = "ledger"  # the mark of the ledger, in the manifest of a published set
RESTORING = ".restoring"  # ending of the folder of a warehouse that is about to replace the one beside it
REMEDY = (
    "put its newest copy back, which life-stage backup keeps, or write it again by life-stage rebuild-ledger, from its"
    " readable lines and what this warehouse knows"
)
Entry = dict[str, str]


@dataclass(frozen=True)
class Ledger:
    """A ledger in a file. Entries have a `kind` (clock, published, erased, without consent) and a `value`."""

    path: Path

    def entries(self) -> list[Entry]:
        """All entries; none without a file. Raises ValueError LS-LED-002 if the file was changed or cannot be read."""
        return [json.loads(line) for line in self._lines()]

    def mark(self) -> str:
        """The number of all lines, and the digest of the last of them."""
        return mark_of(self._lines())

    def append(self, entries: list[Entry]) -> None:
        """Append entries; they are on disk when it returns. Raises ValueError LS-LED-002, OSError without space."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with open(self.path, "ab", opener=lambda path, _: os.open(path, flags, 0o600)) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = self._lines()
            file.truncate(sum(len(line) + 1 for line in lines))  # an unfinished line of a killed process
            for entry in entries:
                lines.append(json.dumps(entry | {"previous": digest_of(lines)}, sort_keys=True).encode())
                file.write(lines[-1] + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def newest(self, kind: str) -> str | None:
        """The greatest value of the kind."""
        return max((entry["value"] for entry in self.entries() if entry["kind"] == kind), default=None)

    def is_of(self, applied: str | None) -> bool:
        """True if this is the ledger whose lines a warehouse has applied, given its mark; None: it has applied none."""
        lines = self._lines()
        return applied is None or mark_of(lines[: int(applied.split()[0])]) == applied

    def unapplied(self, applied: str | None) -> list[Entry]:
        """The entries after those that the warehouse has applied.

        Raises ValueError LS-LED-001 without a file, LS-LED-002 if it is not the ledger of the mark.
        """
        if applied is not None and not self.path.exists():
            raise ValueError(f"LS-LED-001 the ledger {self.path} is missing: {REMEDY}")
        if not self.is_of(applied):
            raise ValueError(self._changed())
        return self.entries()[0 if applied is None else int(applied.split()[0]) :]

    def check_published(self) -> None:
        """Raise ValueError LS-LED-005 if the published set was written beside lines that this ledger does not have."""
        link = paths.published()
        if not self.is_of(mark_in(paths.read_manifest(link))):
            raise ValueError(
                f"LS-LED-005 the ledger {self.path} lacks lines that it had when {link} was written: {REMEDY}, then"
                " repeat the erasures since; beside a new warehouse put a copy of the former one's, under its name"
            )

    def readable(self) -> list[Entry]:
        """The entries of all lines that can be read, of a changed ledger too."""
        found = []
        for line in self.path.read_bytes().split(b"\n") if self.path.exists() else ():
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                entry = json.loads(line)
                found.append({name: str(entry[name]) for name in entry.keys() - {"previous"} | {"kind", "value"}})
        return found

    def _lines(self) -> list[bytes]:
        with suppress(OSError, ValueError, TypeError, KeyError):
            lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
            before = ["", *(digest_of([line]) for line in lines)]
            entries = [json.loads(line) for line in lines]
            known = [(entry["previous"], entry["kind"], entry["value"]) for entry in entries]
            if [previous for previous, *_ in known] == before[:-1]:
                return lines
        raise ValueError(self._changed())

    def _changed(self) -> str:
        return f"LS-LED-002 the ledger {self.path} was changed, cut or replaced: {REMEDY}"


def ledger_of(warehouse: Path) -> Ledger:
    """The ledger of a warehouse, also of one that is being restored."""
    folder = warehouse.parent.parent if warehouse.parent.name.endswith(RESTORING) else warehouse.parent
    return Ledger(folder / f"{warehouse.name}.ledger")


def mark_in(manifest: dict | None) -> str | None:
    """The mark in a manifest; None: it has none."""
    mark = (manifest or {}).get(IN_MANIFEST)
    return mark if isinstance(mark, str) and re.fullmatch(r"[0-9]+ [0-9a-f]*", mark) else None


def mark_after(previous: dict | None) -> dict[str, str]:
    """The mark for a new manifest: that of the previous one, if the ledger lacks its lines; none without a ledger."""
    ledger, known = ledger_of(paths.warehouse()), mark_in(previous)
    if not ledger.path.exists():
        return {}
    return {IN_MANIFEST: ledger.mark() if ledger.is_of(known) else known}


def digest_of(lines: list[bytes]) -> str:
    """SHA-256 of the last line, which holds the digest of the one before."""
    return hashlib.sha256(lines[-1]).hexdigest() if lines else ""


def mark_of(lines: list[bytes]) -> str:
    """The number of the lines, and the digest of the last of them."""
    return f"{len(lines)} {digest_of(lines)}"


def ledger_facts(warehouse: str, applied: str | None, today: str) -> dict[str, object]:
    """Facts of the ledger for a run: messages, its newest clock, if it names users to erase, if it is behind.

    warehouse: the path, empty on Spark, which has no ledger; applied: the warehouse's mark; today: YYYY-MM-DD.
    """
    facts = {"wrong": [], "clock": "", "has_users": False, "is_behind": False}
    if warehouse in ("", ":memory:"):
        return facts
    ledger = ledger_of(paths.resolved(warehouse))
    try:
        entries, facts["clock"] = ledger.unapplied(applied), ledger.newest("clock") or ""
        ledger.check_published()
    except ValueError as error:
        return facts | {"wrong": [str(error)]}
    # A warehouse without a mark may have tombstones that the ledger does not know.
    has_users = applied is None or any("salt" in entry for entry in entries)
    return facts | {"has_users": has_users, "is_behind": bool(applied is None or entries or facts["clock"] < today)}
