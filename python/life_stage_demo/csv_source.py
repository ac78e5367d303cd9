"""Public CSV logs as DuckDB views of text columns, with one-line errors for missing files and columns."""

from pathlib import Path

import duckdb

from .contract import InputError


def sql_path(path: Path) -> str:
    """A path as an SQL string literal."""
    return "'" + str(path).replace("'", "''") + "'"


def header(path: Path) -> list[str]:
    """Column names of a CSV file."""
    if not path.is_file():
        raise InputError(f"LS-DEMO-010 {path} is missing: pass the directory that contains it; nothing was written")
    with path.open(encoding="utf-8-sig") as lines:
        return [name.strip().strip('"') for name in lines.readline().split(",")]


def require(path: Path, columns: tuple[str, ...]) -> None:
    """Raise InputError if the file or one of its columns is missing."""
    found = header(path)
    missing = [column for column in columns if column not in found]
    if missing:
        raise InputError(
            f"LS-DEMO-011 {', '.join(missing)} missing in {path}, which has {', '.join(found)}: rename or add the "
            "columns; nothing was written"
        )


def open_csv(connection: duckdb.DuckDBPyConnection, name: str, path: Path, columns: tuple[str, ...]) -> None:
    """Create the view `name` of the file with text columns; the given columns are required."""
    require(path, columns)
    connection.execute(
        f"create view {name} as select * from read_csv({sql_path(path)}, header = true, all_varchar = true,"
        " delim = ',', quote = '\"', null_padding = true)"
    )


def write_months(connection: duckdb.DuckDBPyConnection, query: str, folder: Path) -> None:
    """Write the rows of query to folder/actions/month=YYYY-MM/; rows without a time go to the earliest month.

    query: the action columns of the data contract; files are sorted by time, then action_id.
    """
    connection.execute(f"create temp table rows_to_write as {query}")
    ((n_rows, n_times),) = connection.execute("select count(*), count(occurred_at) from rows_to_write").fetchall()
    if not n_rows:
        raise InputError("LS-DEMO-012 the source has no rows: pass files with rows; nothing was written")
    if not n_times:
        raise InputError(
            f"LS-DEMO-014 none of the {n_rows} times is readable: "
            "write them in a form of docs/data_contract.md; nothing was written"
        )
    actions = folder / "actions"
    actions.mkdir()
    connection.execute(f"""
        copy (
            select
                *,
                strftime(coalesce(
                    occurred_at, min(occurred_at) over (), timestamp '1970-01-01'
                ), '%Y-%m') as month
            from rows_to_write
            order by occurred_at, action_id
        ) to {sql_path(actions)} (format parquet, compression zstd, partition_by (month), overwrite_or_ignore)
    """)


def write_table(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Write the rows of query to one Parquet file."""
    connection.execute(f"copy ({query}) to {sql_path(path)} (format parquet)")


def connect() -> duckdb.DuckDBPyConnection:
    """An in-memory database in UTC, on one thread, so that equal input gives equal files."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("set TimeZone = 'UTC'")
    return connection
