"""Target `sandboxed`: restricts SQL to the source, the warehouse and the published sets.

A dbt plugin, so that the restriction holds for every dbt command.
"""

from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin

from life_stage import paths
from life_stage.publishing import sets_of, sql_literal


class Plugin(BasePlugin):
    """Denies the database files, extensions and network access, and locks its configuration."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """No configuration: paths come from the environment, as for every run."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Set the restrictions globally, because sessions cannot change settings afterwards."""
        source = paths.source()
        published = paths.published()
        warehouse = self.creds.path + ".tmp" if self.creds else ""
        allowed = [source, sets_of(published), Path(warehouse), Path("seeds")]
        conn.execute("set global TimeZone = 'UTC'")
        folders = [sql_literal(f"{path}/") for folder in allowed for path in {folder, folder.absolute()}]
        conn.execute(f"set allowed_directories = [{', '.join(folders)}]")
        conn.execute("set enable_external_access = false")
        conn.execute("set lock_configuration = true")
