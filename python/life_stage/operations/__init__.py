"""Operations on the warehouse, and the dbt plugin that runs them in the process that holds its lock and connection.

`life-stage` (command_line.py) and dbt's hooks call the macro `operate`, which calls `Plugin.store` with the facts that
only dbt knows. Each operation can be killed at any point and repeated.
"""

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import TargetConfig
from dbt_common.exceptions import DbtRuntimeError

from life_stage.engine.engine_errors import explained
from life_stage.paths import resolved, sql_literal

MODULES = {
    "erase": "erasure",
    "erase_without_consent": "erasure",
    "apply_ledger": "erasure",
    "rebuild_ledger": "erasure",
    "drop_old_months": "months",
    "rebuild_posteriors": "months",
    "migrate": "migrations",
    "write_pseudonyms": "pseudonyms",
}
TABLES_WITH = """
    select table_name from information_schema.columns join information_schema.tables using (table_schema, table_name)
    where columns.table_catalog = current_database() and tables.table_catalog = current_database()
    and table_schema = current_schema() and table_type = 'BASE TABLE' and column_name = ? order by table_name
"""


class Plugin(BasePlugin):
    """Runs an operation by its name; raises DbtRuntimeError with the code of what stopped it."""

    def store(self, target_config: TargetConfig) -> None:
        """Run the operation in the location's format on a session like dbt's own; config: `facts`, `arguments`."""
        operation, given = target_config.location.format, target_config.config
        handle = DuckDBConnectionManager.env().handle()
        try:
            session = handle.cursor()
            facts = dict(given["facts"])
            session.execute(f'use "{self.creds.database}"."{facts.pop("schema")}"')
            warehouse = Warehouse(session, resolved(self.creds.path), **facts)
            module = importlib.import_module(f"{__name__}.{MODULES[operation]}")
            getattr(module, operation)(warehouse, **given["arguments"])
        except (OSError, ValueError, duckdb.Error) as error:
            raise DbtRuntimeError(explained(str(error))) from None
        finally:
            handle.close()


@dataclass(frozen=True)
class Warehouse:
    """The warehouse in an operation: a session in its schema, and facts of macro `operate`."""

    session: duckdb.DuckDBPyConnection
    path: Path
    run_id: str
    started_at: str  # UTC
    created: list[str]  # statements that create the project's logs, where they are missing
    derived: list[str]  # tables by month that the next run can build again
    recursive: list[str]  # tables of posteriors, their states and unfinished passes
    first_month: str  # the first month that retention has not dropped
    action_hash: str  # SQL of the content hash of valid actions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction; an error ends the session, which rolls it back."""
        self.session.execute("begin")
        yield
        self.session.execute("commit")

    def run(self, statements: Iterable[str]) -> None:
        """Run the statements one by one."""
        for statement in statements:
            self.session.execute(statement)

    def read_source(self, statement: str) -> None:
        """Run a statement that reads files of the source; raises ValueError LS-SRC-006 with the file that cannot be."""
        try:
            self.session.execute(statement)
        except duckdb.Error as error:
            raise ValueError(explained(str(error), statement)) from None

    def values(self, sql: str, *parameters: object) -> list[Any]:
        """The first column of a query."""
        return [row[0] for row in self.session.execute(sql, parameters or None).fetchall()]

    def tables_with(self, column: str) -> list[str]:
        """Names of the tables with the column, quoted."""
        return [f'"{table}"' for table in self.values(TABLES_WITH, column)]

    def has(self, *tables: str) -> bool:
        """True if all the tables exist."""
        sql = "select count(*) from duckdb_tables() where database_name = current_database()"
        sql += " and schema_name = current_schema() and list_contains(?, table_name)"
        return self.values(sql, tables) == [len(tables)]

    def record(self, key: str, value: object) -> None:
        """Record a fact in project_state."""
        self.session.execute("delete from project_state where key = ?", [key])
        self.session.execute("insert into project_state values (?, ?)", [key, str(value)])

    def recorded(self, key: str) -> str | None:
        """A fact in project_state; None without one."""
        if not self.has("project_state"):
            return None
        return next(iter(self.values("select value from project_state where key = ?", key)), None)

    def rebuild_derived(self) -> None:
        """Cause the next run to build every node again, and every month of derived tables."""
        names = ", ".join(sql_literal(name) for name in self.derived)
        self.run([*self.created, "delete from node_hashes", f"delete from build_log where model in ({names})"])
