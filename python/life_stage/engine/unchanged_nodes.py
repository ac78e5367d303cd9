"""Passes the digest of the project to the database, where macros/unchanged.sql compares the models one by one."""

from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.flags import get_flags

from life_stage.engine.unchanged import project_digest


class Plugin(BasePlugin):
    """Sets the variable project_digest in every session."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Compute the digest. The models' own files are not in it: each is compared for itself."""
        self.digest = project_digest(Path(get_flags().PROJECT_DIR))

    def configure_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Set the variable: it belongs to a session, and each dbt statement has its own."""
        cursor.execute(f"set variable project_digest = '{self.digest}'")
