"""Target `sandboxed`: SQL reaches the source, the warehouse and the published sets, and no other file.

A dbt plugin, so that it holds for every command of dbt's, not for runs alone.
"""

from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin

from life_stage import paths
from life_stage.publishing import sets_of, sql_literal


class Plugin(BasePlugin):
    """Closes the database to files, extensions and networks, and locks its configuration until the process ends."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Nothing to read: the places come from the environment, as for every run."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Close it. In global settings, for they cannot be set per session any more."""
        source = paths.source()
        published = paths.published()
        warehouse = self.creds.path + ".tmp" if self.creds else ""
        allowed = [source, sets_of(published), Path(warehouse), Path("seeds")]
        conn.execute("set global TimeZone = 'UTC'")
        folders = [sql_literal(f"{path}/") for place in allowed for path in {place, place.absolute()}]
        conn.execute(f"set allowed_directories = [{', '.join(folders)}]")
        conn.execute("set enable_external_access = false")
        conn.execute("set lock_configuration = true")
