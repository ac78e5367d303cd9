"""SQL expressions of the project's macros, rendered without dbt."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import yaml
from jinja2 import Environment

from life_stage.engine import contract
from life_stage.engine.settings import GROUPS
from life_stage.paths import sql_literal

PROJECT = Path(__file__).parents[3]
NAMES = ("moments.sql", "sources.sql", "validate_actions.sql", "stages.sql", "features.sql", "engine/expressions.sql")
FILES = [PROJECT / "macros" / name for name in NAMES]


SYNONYMS = f"read_csv({sql_literal(PROJECT / 'seeds' / 'action_synonyms.csv')})"


class ReturnError(Exception):
    """The value of a macro that ends with return()."""


def _return(value: object) -> NoReturn:
    raise ReturnError(value)


@cache
def source_contract(table: str) -> list[dict]:
    """The columns of a table in models/sources.yml: name, data_type and meta."""
    declared = yaml.safe_load((PROJECT / "models" / "sources.yml").read_text("utf-8"))
    (columns,) = (found["columns"] for found in declared["sources"][0]["tables"] if found["name"] == table)
    return [{"meta": {}, **column} for column in columns]


def project_settings() -> dict[str, object]:
    """The vars of dbt_project.yml by name; those of a group by group and key, as in source_date_order."""
    declared = yaml.safe_load((PROJECT / "dbt_project.yml").read_text("utf-8"))["vars"]
    grouped = {f"{name}_{key}": value for name in GROUPS for key, value in declared[name].items()}
    return {name: value for name, value in declared.items() if name not in GROUPS} | grouped


def project_macros(engine: str = "duckdb", **settings: object) -> dict[str, Callable]:
    """The macros that read source columns, by name, with these settings in place of the project's."""
    settings = project_settings() | settings
    environment = Environment(extensions=["jinja2.ext.do"])
    environment.globals |= {
        "return": _return,
        "target": SimpleNamespace(type=engine),
        "setting": settings.__getitem__,
        "business_timezone": lambda: settings["business_timezone"],
        "clock": lambda: f"timestamp '{datetime.now(UTC):%Y-%m-%d %H:%M:%S}'",
        "modules": SimpleNamespace(life_stage=contract),
    }

    def callable_macro(name: str, text: str) -> Callable:
        template = environment.from_string(text)

        def call(*arguments: object) -> object:
            try:
                return getattr(template.module, name)(*arguments)
            except ReturnError as returned:
                return returned.args[0]

        return call

    texts = [text for file in FILES for text in re.findall(r"{% macro .*?endmacro -?%}", file.read_text("utf-8"), re.S)]
    macros = {name: callable_macro(name, text) for text in texts for name in re.findall(r"^{% macro (\w+)", text)}
    macros["contract_columns"] = source_contract
    macros["clock"] = environment.globals["clock"]
    environment.globals |= macros
    return macros


def moment(column: str) -> str:
    """SQL for DuckDB: the column as UTC, read as in staging; null if it is unreadable."""
    return str(project_macros()["moment"](column))
