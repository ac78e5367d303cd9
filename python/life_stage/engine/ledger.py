"""The ledger beside the warehouse: what a restored or copied warehouse must not undo.

`<warehouse>.ledger` has one JSON object a line, is only appended to, and names no user: erased users and users without
consent as salted digests, runs that have published, and the newest clock. Each line holds the digest of the line before
it. The warehouse records how many lines it has applied (`ledger` in project_state), so a run, or a restore, applies the
rest.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from life_stage.paths import resolved

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
        """All entries; none without a file. Raises ValueError LS-LED-002 if a line was changed or taken away."""
        return [json.loads(line) for line in self._lines()]

    def readable(self) -> list[Entry]:
        """The entries of all lines that can be read, of a damaged ledger too."""
        found = []
        for line in self.path.read_bytes().split(b"\n") if self.path.exists() else ():
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                found.append({name: str(entry[name]) for name in entry.keys() - {"previous"} | {"kind", "value"}})
        return found

    def mark(self, n: int | None = None) -> str:
        """The number of the first n lines, by default of all, and the digest of the last of them."""
        lines = self._lines()[:n]
        return f"{len(lines)} {digest_of(lines)}"

    def append(self, entries: list[Entry]) -> None:
        """Append entries; they are on disk when it returns. Raises ValueError LS-LED-002."""
        with self._locked() as file:
            lines = self._lines()
            file.truncate(sum(len(line) + 1 for line in lines))  # an unfinished line of a killed process
            for entry in entries:
                lines.append(json.dumps(entry | {"previous": digest_of(lines)}, sort_keys=True).encode())
                os.write(file.fileno(), lines[-1] + b"\n")
            os.fsync(file.fileno())

    def newest(self, kind: str) -> str | None:
        """The greatest value of the kind."""
        return max((entry["value"] for entry in self.entries() if entry["kind"] == kind), default=None)

    def unapplied(self, applied: str | None) -> list[Entry]:
        """The entries after those that the warehouse has applied, given its mark; None: it has applied none.

        Raises ValueError LS-LED-001 without a file, LS-LED-002 if the mark is that of no such ledger.
        """
        if applied is None:
            return self.entries()
        if not self.path.exists():
            raise ValueError(f"LS-LED-001 the ledger {self.path} is missing: {REMEDY}")
        n = int(applied.split()[0])
        if self.mark(n) != applied:
            raise ValueError(self._changed())
        return self.entries()[n:]

    def _lines(self) -> list[bytes]:
        lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []
        digests = ["", *(digest_of([line]) for line in lines)]
        try:
            if all(json.loads(line)["previous"] == digest for line, digest in zip(lines, digests, strict=False)):
                return lines
        except (ValueError, TypeError, KeyError):
            pass
        raise ValueError(self._changed())

    def _changed(self) -> str:
        return f"LS-LED-002 the ledger {self.path} was changed, cut or replaced: {REMEDY}"

    @contextmanager
    def _locked(self) -> Iterator[object]:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(descriptor, "ab", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file


def ledger_of(warehouse: Path) -> Ledger:
    """The ledger of a warehouse, also of one that is being restored."""
    folder = warehouse.parent.parent if warehouse.parent.name.endswith(RESTORING) else warehouse.parent
    return Ledger(folder / f"{warehouse.name}.ledger")


def digest_of(lines: list[bytes]) -> str:
    """SHA-256 of the last line, which holds the digest of the one before."""
    return hashlib.sha256(lines[-1]).hexdigest() if lines else ""


def ledger_facts(warehouse: str, applied: str | None, today: str) -> dict[str, object]:
    """What a run has to know of the ledger: messages, its newest clock, if it names users to erase, if it is behind.

    warehouse: the path, empty on Spark, which has no ledger; applied: the warehouse's mark; today: YYYY-MM-DD.
    """
    facts = {"wrong": [], "clock": "", "has_users": False, "is_behind": False}
    if warehouse in ("", ":memory:"):
        return facts
    ledger = ledger_of(resolved(warehouse))
    try:
        entries, facts["clock"] = ledger.unapplied(applied), ledger.newest("clock") or ""
    except ValueError as error:
        return facts | {"wrong": [str(error)]}
    has_users = any("salt" in entry for entry in entries)
    return facts | {"has_users": has_users, "is_behind": bool(applied is None or entries or facts["clock"] < today)}
