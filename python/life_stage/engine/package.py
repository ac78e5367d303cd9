"""The project as a package of another dbt project, the host: its settings, its refs, its connection.

A host has its own profile and its own vars. What profiles.yml gives the connection is attached when a command of the
host builds or tests a node of the package.
"""

import os
import re
from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.flags import get_flags

from life_stage.paths import PACKAGE, PUBLISHED, is_host, keep_private

PLUGINS = ("life_stage.engine.pseudonyms", "life_stage.operations", "life_stage.engine.unchanged_nodes")
REF = re.compile(r"ref\('([A-Za-z_]\w*)'\)")


def is_package() -> bool:
    """Whether dbt runs another project; false without a dbt_project.yml, of which dbt complains itself."""
    return is_host(Path(getattr(get_flags(), "PROJECT_DIR", "")).absolute())


def setting(var: Any, name: str) -> Any:
    """Value of a setting, as `group_key`: the var of that name, else the entry of its group, else the declared one.

    var: that of dbt's Jinja context. A host may give a part of a group. None if there is no such setting.
    """
    group, _, key = name.partition("_")
    value = var(name, var(group).get(key))
    return declared(var)[group].get(key) if value is None else value


def declared(var: Any) -> dict[str, Any]:
    """The vars that dbt_project.yml of this project declares."""
    config = var._config
    project = config if config.project_name == PACKAGE else config.load_dependencies()[PACKAGE]
    return project.vars.vars


def model_of_ref(text: str | None) -> str:
    """The model that `ref('model')` names; empty for any other text."""
    found = REF.fullmatch(text or "")
    return found[1] if found else ""


def attach(adapter: Any) -> None:
    """Attach the database scratch and register the plugins in the host's DuckDB, once per process. Files are private.

    adapter: that of dbt's Jinja context, whose open connection is configured too.
    """
    keep_private()
    environment = DuckDBConnectionManager.env()
    host = adapter._adapter.config
    os.environ["LIFE_STAGE_WAREHOUSE"] = environment.creds.path
    if not os.environ.get("LIFE_STAGE_PUBLISHED"):
        os.environ["LIFE_STAGE_PUBLISHED"] = str(Path(host.project_root) / PUBLISHED)
    cursor = adapter._adapter.connections.get_thread_connection().handle.cursor()
    cursor.execute("attach if not exists ':memory:' as scratch")
    facts = {"project": host.load_dependencies()[PACKAGE].project_root, "given": host.vars.to_dict()}
    for module in PLUGINS:
        plugin = BasePlugin.create(module, config=facts, credentials=environment.creds)
        if plugin.name not in environment._plugins:
            environment._plugins[plugin.name] = plugin
            plugin.configure_cursor(cursor)
