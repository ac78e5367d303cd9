"""Lock of the warehouse: one run at a time, through a lock file that names its holder.

dbt-duckdb loads `Plugin` before it opens the warehouse. The operating system releases the lock when the process ends,
so a killed run needs no cleanup.
"""

import fcntl
import os
import shutil
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from life_stage import paths
from life_stage.engine.dbt_overhead import reduce_dbt_overhead
from life_stage.engine.engine_errors import explain_engine_errors, explained
from life_stage.engine.ledger import RESTORING
from life_stage.publishing import refuse_foreign

_held: dict[Path, int] = {}


class Plugin(BasePlugin):
    """Locks the profile's warehouse file; raises LS-RUN-001, -002 or -005 if it is not available."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Check the path of the published link, then lock the warehouse unless it is in memory."""
        try:
            refuse_foreign(paths.published(), "nothing was changed")
        except ValueError as error:
            raise DbtRuntimeError(str(error)) from None
        explain_engine_errors()
        reduce_dbt_overhead()
        if self.creds is not None and self.creds.path != ":memory:":
            warehouse = paths.resolved(self.creds.path)
            take_lock(warehouse)
            refuse_unusable(warehouse)


def refuse_unusable(warehouse: Path) -> None:
    """Raise LS-RUN-002 if another program holds the file or it is not a database, LS-RUN-005 if it is damaged."""
    try:
        if warehouse.exists():
            duckdb.connect(warehouse).close()
    except duckdb.Error as engine_error:
        error = str(engine_error).splitlines()[0]
        if error != (damaged := explained(error)):
            raise DbtRuntimeError(damaged) from None
        raise DbtRuntimeError(
            f"LS-RUN-002 {warehouse} cannot be opened: {error}: close the program that holds it open (BI reads the "
            "published marts), or restore a backup; nothing was changed"
        ) from None


def take_lock(warehouse: Path) -> None:
    """Lock `warehouse` until this process ends; no effect if the process already holds the lock."""
    if warehouse in _held:
        return
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    path = warehouse.with_name(warehouse.name + ".lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 1000).decode(errors="replace") or "another process"
        os.close(descriptor)
        raise DbtRuntimeError(
            f"LS-RUN-001 {warehouse} is in use by {holder}: wait until it has ended; nothing was changed"
        ) from None
    os.ftruncate(descriptor, 0)
    started = datetime.now().isoformat(timespec="seconds")
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {started}".encode())
    _held[warehouse] = descriptor
    remove_unfinished(warehouse)


def remove_unfinished(warehouse: Path) -> None:
    """Remove copies that a killed backup or restore left: nobody writes them while the lock is held."""
    restoring = warehouse.with_name(warehouse.name + RESTORING)
    shutil.rmtree(restoring, ignore_errors=True)
    with suppress(OSError, ValueError):  # the list cannot be read
        for file in (restoring, *map(paths.unfinished, paths.copies_of(warehouse))):
            with suppress(OSError):  # its folder is gone, or not writable any more
                file.unlink()
