"""Error codes and remedies for failures of the database engine: full disk, too little memory, damaged file.

dbt handles the engine's errors in two functions, for SQL and for Python models, without a hook; both are wrapped.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.impl import DuckDBAdapter
from dbt_common.exceptions import DbtRuntimeError

RESUME = "published marts are unchanged, the next run resumes after the last finished month"
CAUSES = {  # in this order: a full disk also breaks files
    r"No space left|File too large|Disk quota|Could not write|Failed to write|out of disk|max_temp_directory_size": (
        f"LS-RUN-003 the disk is full: free disk space ({RESUME})"
    ),
    r"Out of Memory|MemoryError|failed to allocate|could not allocate": (
        f"LS-RUN-004 out of memory: raise LIFE_STAGE_MEMORY, or run on a larger machine ({RESUME})"
    ),
    r"[Cc]orrupt database|checksum .* does not match|database has been invalidated": (
        "LS-RUN-005 the warehouse file is damaged: restore a backup, or start a new one by LIFE_STAGE_WAREHOUSE"
    ),
    r"CSV Error|[Pp]arquet (file|reader)|magic bytes|Failed to read file|not utf-8": (
        "LS-SRC-006 a file of the source cannot be read: deliver it again, complete and in UTF-8; no month was changed"
    ),
}


def explained(message: str) -> str:
    """The engine's message, preceded by a code and remedy if its cause is one of CAUSES."""
    message = re.sub(r"Original Line:.*", "(the line is not shown)", message)  # personal data
    if "LS-" not in message and "disabled by configuration" not in message:
        for pattern, cause in CAUSES.items():
            if re.search(pattern, message):
                return f"{cause}\n{message}"
    return message


@contextmanager
def explaining() -> Iterator[None]:
    """Adds code and remedy to dbt's errors."""
    try:
        yield
    except DbtRuntimeError as error:
        error.msg = explained(str(error.msg))
        raise


def explain_engine_errors() -> None:
    """Wrap dbt's error handling in this process."""
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
