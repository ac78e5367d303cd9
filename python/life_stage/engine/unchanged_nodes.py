"""Passes the digest of the project to the database, where macros/unchanged.sql compares the models one by one."""

from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.flags import get_flags

from life_stage.engine.months import md5
from life_stage.engine.unchanged import project_digest


class Plugin(BasePlugin):
    """Sets the variable project_digest in every session."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Compute the digest. The models' own files are not in it: each is compared for itself.

        Config of a host project: `project`, the folder of the package, and `given`, the vars of the host.
        """
        digest = project_digest(Path(plugin_config.get("project", get_flags().PROJECT_DIR)))
        self.digest = md5(digest + repr(plugin_config["given"])) if "given" in plugin_config else digest

    def configure_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Set the variable: it belongs to a session, and each dbt statement has its own."""
        cursor.execute(f"set variable project_digest = '{self.digest}'")
