"""Tables of var source_schema outside dbt: the warehouse and the databases of profiles.yml, opened to read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import yaml
from jinja2 import Environment

from life_stage import paths
from life_stage.mapping import mapping_of
from life_stage.paths import sql_literal


@contextmanager
def opened_tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which names of tables mean what they mean in a run. Raises ValueError LS-RUN-002.

    Its own tables have to be temporary.
    """
    with duckdb.connect(config={"preserve_insertion_order": "false"}) as connection:
        warehouse = paths.warehouse()
        if warehouse.exists():
            attach(connection, {"path": str(warehouse), "alias": warehouse.stem})
            connection.execute(f"use {identifier(warehouse.stem)}")
        for database in databases_of_profile():
            attach(connection, database)
        yield connection


def databases_of_profile() -> list[dict]:
    """The entries of `attach` in profiles.yml for the target LIFE_STAGE_TARGET, without databases in memory."""
    jinja = Environment().from_string(Path("profiles.yml").read_text("utf-8"))
    (profile,) = yaml.safe_load(jinja.render(env_var=lambda name, default="": os.environ.get(name, default))).values()
    target = profile["outputs"].get(os.environ.get("LIFE_STAGE_TARGET") or "duckdb", {})
    return [database for database in target.get("attach", ()) if database["path"] != ":memory:"]


def attach(connection: duckdb.DuckDBPyConnection, database: dict) -> None:
    """Attach a database, to read only."""
    name = f" as {identifier(database['alias'])}" if "alias" in database else ""
    kind = f", type {database['type']}" if "type" in database else ""
    try:
        connection.execute(f"attach {sql_literal(database['path'])}{name} (read_only{kind})")
    except duckdb.Error as engine_error:
        file, error = database["path"], str(engine_error).partition("\n")[0]
        raise ValueError(f"LS-RUN-002 {file} cannot be opened: {error}: close the program that holds it open") from None


def identifier(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def delivered_table(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> list[dict[str, Any]]:
    """A table of the contract, as contract.delivered gives files; none if the source has none.

    Raises ValueError LS-SRC-012 for a mapping that cannot be run.
    """
    mapping = mapping_of(table, is_of_tables=True)
    rows, file = (mapping.sql, str(mapping.file)) if mapping else (f"from {schema}.{table}", f"{schema}.{table}")
    try:
        described = connection.sql(f"describe {rows}").fetchall()
    except duckdb.Error as error:
        if mapping is None:
            return []
        what = " ".join(str(error).partition("LINE ")[0].split()).partition(": ")[2]
        raise ValueError(f"LS-SRC-012 {file} cannot be run: {what}") from None
    types = {column.lower(): type_name for column, type_name, *_ in described}
    return [{"name": file, "rows": rows, "types": types, "source_file": sql_literal(table)}]
