"""Error codes and remedies for failures of the database engine: full disk, too little memory, a damaged file.

dbt handles the engine's errors in two functions, for SQL and for Python models, without a hook; both are wrapped.
Whatever else goes wrong in a statement that reads files of the source is LS-SRC-006.
"""

import glob
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.impl import DuckDBAdapter
from dbt_common.exceptions import DbtRuntimeError

from life_stage import paths
from life_stage.engine.contract import TABLES
from life_stage.mapping import mapping_of

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
}
OF_A_FILE = r"CSV Error|[Pp]arquet (file|reader)|magic bytes"  # of a view of var source_schema that reads files
NOT_OF_SOURCE = (  # of the statement, or of the run
    r"(Catalog|Parser|INTERRUPT|TransactionContext|Constraint) Error|Binder Error: Referenced"
)
LITERAL = r"'(?:[^']|'')*'"
READER = re.compile(rf"(read_parquet|read_csv)\(\[({LITERAL}(?:, {LITERAL})*)\]((?:[^')]|{LITERAL})*)\)")


def explained(message: str, sql: str = "") -> str:
    """The engine's message, preceded by a code and remedy if its cause is one of CAUSES; or what it says of a file.

    sql: the statement that failed, if it is known.
    """
    if re.search(r"LS-[A-Z]+-\d{3} ", message) or "disabled by configuration" in message:
        return message
    for pattern, cause in CAUSES.items():
        if re.search(pattern, message):
            return f"{cause}\n{message.partition('Original Line:')[0]}"
    if file := mapping_within(sql):
        what = without_values(" ".join(message.partition("LINE ")[0].split()), sql)
        return f"LS-SRC-012 {file} cannot be run: {what}"
    is_of_source = READER.search(sql) or re.search(OF_A_FILE, message)
    if is_of_source and not re.match(NOT_OF_SOURCE, message):
        return unreadable_source(message, sql)
    return message


def mapping_within(sql: str) -> Path | None:
    """The file of a mapping of tables that the statement contains."""
    for table in TABLES:
        with suppress(ValueError):  # a mapping of files
            mapping = mapping_of(table, is_of_tables=True)
            if mapping and mapping.sql in sql:
                return mapping.file
    return None


def unreadable_source(message: str, sql: str) -> str:
    """The message about a file of the source: its name, the column, and the engine's first line, without values."""
    file = failed_file(message, sql)
    error = without_values(message.strip().splitlines()[0].replace(f"{paths.source()}/", ""), sql)
    found = re.search(r'column "?(\w+)"?', error)
    column = f" in column {found[1]}" if found and f" as {found[1]}" in sql else ""
    return (
        f"LS-SRC-006 {file} cannot be read{column}: {error}: deliver it again, complete and in UTF-8;"
        " no month was changed"
    )


def without_values(line: str, sql: str) -> str:
    """The line without values of the source: quotations that name nothing in the statement, and numbers."""
    for quoted in re.finditer(r"""(["'`])(.*?)(\1|$)""", line):
        function, _, types = quoted[2].partition("(")
        if quoted[2].isdigit() or (function + "(" if types else quoted[2]) not in sql:
            line = f"{line[: quoted.start()]}...{line[line.rindex(quoted[1]) + 1 :] if quoted[3] else ''}"
            break
    return re.sub(r"\b(value:? )\S*\d\S*", r"\1...", line)


def failed_file(message: str, sql: str) -> str:
    """Name of the file that the engine failed to read: the only one, the one in the message, or that fails again."""
    readers = {file: (reader[1], reader[3]) for reader in READER.finditer(sql) for file in files_in(reader[2])}
    names = {file: file.removeprefix(f"{paths.source()}/") for file in sorted(readers, key=len, reverse=True)}
    for file, name in names.items():
        if len(names) == 1 or file in message:
            return name
    for file, (reader, options) in readers.items():
        if not is_readable(file, reader, options):
            return names[file]
    some = ", ".join(sorted(names.values())[:3]) + ", ..." * (len(names) > 3)
    return f"one of {some}" if names else "a file of the source"


def is_readable(file: str, reader: str, options: str) -> bool:
    """True if every value of the file can be read."""
    pattern = glob.escape(file).replace("'", "''")
    try:
        with duckdb.connect() as connection:
            connection.execute(f"select count(columns(*)) from {reader}(['{pattern}']{options})")
    except duckdb.Error:
        return False
    return True


def files_in(literals: str) -> list[str]:
    """The files that a list of patterns in SQL names; see paths.source_patterns."""
    patterns = (literal[1:-1].replace("''", "'") for literal in re.findall(LITERAL, literals))
    return [re.sub(r"\[([*?[])\]", r"\1", pattern) for pattern in patterns]


@contextmanager
def explaining(sql: str = "") -> Iterator[None]:
    """Adds code and remedy to errors; sql: the statement that is run."""
    try:
        yield
    except DbtRuntimeError as error:
        error.msg = explained(str(error.msg), sql)
        raise
    except Exception as error:
        raise RuntimeError(explained(str(error), sql)) from None


def explain_engine_errors() -> None:
    """Wrap dbt's error handling in this process: dbt gets, and logs, errors that are explained."""
    handle, submit = DuckDBConnectionManager.exception_handler, DuckDBAdapter.submit_python_job
    if submit.__module__ == __name__:
        return

    @contextmanager
    def exception_handler(manager: DuckDBConnectionManager, sql: str, *arguments: Any, **named: Any) -> Iterator[None]:
        with handle(manager, sql, *arguments, **named), explaining(sql):
            yield

    def submit_python_job(*arguments: Any, **named: Any) -> Any:
        with explaining():
            return submit(*arguments, **named)

    DuckDBConnectionManager.exception_handler = exception_handler
    DuckDBAdapter.submit_python_job = submit_python_job
