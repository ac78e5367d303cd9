"""Erasure of users from published files, and rewrite of the warehouse so that no freed block contains their data.

DuckDB keeps deleted rows in freed blocks, so only a new file is free of them. It is searched before it replaces the old
one. `users` is the name of a table of their ids.
"""

import glob
import html
import os
import shutil
from pathlib import Path

import duckdb

from life_stage.engine.ledger import mark_after
from life_stage.paths import read_manifest, sets_of, sql_literal
from life_stage.publishing import content_hash, remove_sets, write_manifest, write_set

TEXTS = """
    select schema_name, table_name, column_name, schema_name = current_schema() and column_name = 'user_id'
    from duckdb_columns()
    where database_name = 'rewritten' and not internal and (column_name = 'user_id' or data_type = 'VARCHAR')
    and table_oid in (select table_oid from duckdb_tables() where database_name = 'rewritten')
"""


def unpublish(session: duckdb.DuckDBPyConnection, link: Path, users: str) -> None:
    """Replace the published set by one without the users; remove older sets, and pages that name a user."""
    manifest = read_manifest(link)
    if manifest is not None:
        old = {name: read(session, link.resolve() / f"{name}.parquet") for name in manifest["files"]}
        new = {name: rows.filter(f"user_id not in (select user_id from {users})") for name, rows in with_users(old)}
        new = {name: rows for name, rows in new.items() if rows.shape[0] != old[name].shape[0]}
        if new:
            contents = manifest["contents"] | {name: content_hash(rows) for name, rows in new.items()}
            kept = ("run_id", "columns", "descriptions", "id_key")
            facts = {key: manifest[key] for key in kept if key in manifest} | {"contents": contents}
            write_set(old | new, link, facts | mark_after(manifest), manifest)
        else:  # the erasure is in the mark, though no file changes
            write_manifest(link.resolve(), manifest | mark_after(manifest))
    remove_sets(link, {link.resolve().name})
    remove_pages(link, [user for (user,) in session.execute(f"select user_id from {users}").fetchall()])


def remove_pages(link: Path, users: list[str]) -> None:
    """Remove the report, the page of life-stage explain and unfinished ones, if they name one of the users."""
    names = [f"User {html.escape(user)}," for user in users]
    for ending in (".html", ".html.new", "_explain.html", "_explain.html.new"):
        file = link.with_name(link.name + ending)
        if file.exists():
            text = file.read_text(encoding="utf-8")
            if any(name in text for name in names):
                file.unlink()


def read(session: duckdb.DuckDBPyConnection, file: Path) -> duckdb.DuckDBPyRelation:
    """The rows of one file, whatever its name."""
    return session.read_parquet(glob.escape(str(file)))


def with_users(files: dict[str, duckdb.DuckDBPyRelation]) -> list[tuple[str, duckdb.DuckDBPyRelation]]:
    """The files with user ids."""
    return [(name, rows) for name, rows in files.items() if "user_id" in rows.columns]


def rewrite(session: duckdb.DuckDBPyConnection, warehouse: Path, users: str) -> int:
    """Replace the file by a copy of its tables, without the users; returns the number of tables."""
    new, log = (
        warehouse.with_name(warehouse.name + ".tmp") / "rewritten.duckdb",
        warehouse.with_name(warehouse.name + ".wal"),
    )
    new.parent.mkdir(exist_ok=True)  # the spill folder, which is writable also when the database is sandboxed
    for leftover in (new, new.with_name(new.name + ".wal")):
        leftover.unlink(missing_ok=True)
    try:
        session.execute("checkpoint")
        session.execute(f"attach {sql_literal(new)} as rewritten")
        ((name,),) = session.execute("select current_database()").fetchall()
        session.execute(f'copy from database "{name}" to rewritten')
        n_tables = search_tables(session, users)
        session.execute("detach rewritten")
        if log.exists() and log.stat().st_size:
            raise ValueError(f"{log} is not empty")
        with new.open("rb") as file:
            os.fsync(file.fileno())
        shutil.copymode(warehouse, new)
        os.replace(new, warehouse)
    finally:
        new.unlink(missing_ok=True)
    return n_tables


def remove_spilled(warehouse: Path) -> None:
    """Remove rows that killed runs spilled to disk."""
    for file in warehouse.with_name(warehouse.name + ".tmp").glob("*"):
        if file.is_file():
            file.unlink(missing_ok=True)


def search_tables(session: duckdb.DuckDBPyConnection, users: str) -> int:
    """Search all text columns of the copy; returns the number of tables.

    Raises ValueError with the tables where a user is found, or if there is none. Other text columns, and source tables
    in the same file, may contain an equal text: those are only reported.
    """
    columns, faults = session.execute(TEXTS).fetchall(), []
    for schema, table, column, is_ours in columns:
        relation = f'rewritten."{schema}"."{table}"'
        sql = f'select count(*) from {relation} where "{column}"::varchar in (select user_id from {users})'
        ((n_rows,),) = session.execute(sql).fetchall()
        if n_rows and is_ours:
            faults.append(f"{n_rows} rows of {table} still contain the user")
        elif n_rows:
            print(f"{n_rows} rows of {schema}.{table} have a text in {column} that equals the user's id")
    fail_with(faults if columns else ["no table was found"])
    return len({(schema, table) for schema, table, *_ in columns})


def search_published(session: duckdb.DuckDBPyConnection, link: Path, users: str, has_published: bool = False) -> int:
    """Search every published file; returns their number.

    Raises ValueError with the files that contain a user or cannot be read, or if there is none of the set that is
    published, or of any set though a run has published.
    """
    files, faults = sorted(sets_of(link).resolve().rglob("*.parquet")), []
    if link.is_symlink() and not any(file.is_relative_to(link.resolve()) for file in files):
        faults.append(f"{link} is published, but no file was found in {link.resolve()}")
    elif has_published and not files:
        faults.append(f"a run has published, but no file was found by {link}: set LIFE_STAGE_PUBLISHED as for the job")
    for file in files:
        try:
            if any(n_rows_of(mart, users) for _, mart in with_users({str(file): read(session, file)})):
                faults.append(f"{file} still contains the user")
        except duckdb.Error as error:
            faults.append(f"{file} cannot be read ({str(error).splitlines()[0]})")
    fail_with(faults)
    return len(files)


def n_rows_of(mart: duckdb.DuckDBPyRelation, users: str) -> int:
    """Number of rows of the users."""
    return mart.filter(f"user_id in (select user_id from {users})").shape[0]


def fail_with(faults: list[str]) -> None:
    """Raise ValueError with all faults, if there are any."""
    if faults:
        raise ValueError("; ".join(faults))
