"""Target `sandboxed`: restricts SQL to the source, the warehouse and the published sets.

A dbt plugin, so that the restriction holds for every dbt command.
"""

import glob
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin

from life_stage import paths
from life_stage.paths import sql_literal


class Plugin(BasePlugin):
    """Denies the database files, extensions and network access, and locks its configuration."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """No configuration: paths come from the environment, as for every run."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Set the restrictions globally, because sessions cannot change settings afterwards."""
        source, warehouse = paths.source(), paths.resolved(self.creds.path + ".tmp" if self.creds else "")
        linked = [paths.resolved(source / link) for link in paths.links_to(paths.files_within(source), source)]
        folders = [source, paths.sets_of(paths.published()), warehouse, paths.resolved("seeds"), *linked]
        # A file is checked by its pattern and by its path.
        allowed = {path for folder in folders for path in (f"{folder}/", f"{glob.escape(str(folder))}/")}
        files = [str(place) for place in linked if place.is_file()]
        conn.execute("set global TimeZone = 'UTC'")
        conn.execute(f"set allowed_directories = [{', '.join(map(sql_literal, allowed))}]")
        conn.execute(f"set allowed_paths = [{', '.join(map(sql_literal, files))}]")
        conn.execute("set enable_external_access = false")
        conn.execute("set lock_configuration = true")
