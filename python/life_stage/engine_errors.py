"""Error codes and remedies for errors of the database engine: a full disk, too little memory, a broken file.

dbt passes the engine's errors through two places, one for SQL and one for Python models, and offers no hook there: both
are wrapped.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.impl import DuckDBAdapter
from dbt_common.exceptions import DbtRuntimeError

HEALS = "what was published stands, the next run goes on from the last finished month"
CAUSES = {  # in this order: a full disk also breaks files
    r"No space left|File too large|Disk quota|Could not write|Failed to write|out of disk|max_temp_directory_size": (
        f"LS-RUN-003 the disk is full: make room ({HEALS})"
    ),
    r"Out of Memory|MemoryError|failed to allocate|could not allocate": (
        f"LS-RUN-004 the memory does not suffice: raise LIFE_STAGE_MEMORY, or run on a larger machine ({HEALS})"
    ),
    r"[Cc]orrupt database|checksum .* does not match|database has been invalidated": (
        "LS-RUN-005 the warehouse file is damaged: restore a backup, or start a new one by LIFE_STAGE_WAREHOUSE"
    ),
    r"CSV Error|[Pp]arquet (file|reader)|magic bytes|Failed to read file|not utf-8": (
        "LS-SRC-006 a file of the source cannot be read: deliver it again, whole and as UTF-8; no month was changed"
    ),
}


def explained(message: str) -> str:
    """The engine's message behind our code and remedy, where it is one of those we know."""
    message = re.sub(r"Original Line:.*", "(the line is not shown)", message)  # it is a shopper's
    if "LS-" not in message and "disabled by configuration" not in message:
        for pattern, cause in CAUSES.items():
            if re.search(pattern, message):
                return f"{cause}\n{message}"
    return message


@contextmanager
def explaining() -> Iterator[None]:
    """Errors of dbt's leave it explained."""
    try:
        yield
    except DbtRuntimeError as error:
        error.msg = explained(str(error.msg))
        raise


def explain_engine_errors() -> None:
    """From here on the errors of this process's dbt are explained."""
    handle, submit = DuckDBConnectionManager.exception_handler, DuckDBAdapter.submit_python_job
    if submit.__module__ == __name__:
        return

    @contextmanager
    def exception_handler(*arguments: Any, **named: Any) -> Iterator[None]:
        with explaining(), handle(*arguments, **named):
            yield

    def submit_python_job(*arguments: Any, **named: Any) -> Any:
        with explaining():
            return submit(*arguments, **named)

    DuckDBConnectionManager.exception_handler = exception_handler
    DuckDBAdapter.submit_python_job = submit_python_job
