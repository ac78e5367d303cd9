"""SQL expressions of the project's macros, rendered without dbt."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import yaml
from jinja2 import Environment

from life_stage.engine import contract

PROJECT = Path(__file__).parents[2]
FILES = [PROJECT / "macros" / name for name in ("moments.sql", "sources.sql", "engine/expressions.sql")]


class ReturnError(Exception):
    """The value of a macro that ends with return()."""


def _return(value: object) -> NoReturn:
    raise ReturnError(value)


@cache
def source_contract(table: str) -> list[SimpleNamespace]:
    """The columns of a table in models/sources.yml: name, data_type and meta."""
    declared = yaml.safe_load((PROJECT / "models" / "sources.yml").read_text("utf-8"))
    (columns,) = (found["columns"] for found in declared["sources"][0]["tables"] if found["name"] == table)
    return [SimpleNamespace(**{"meta": {}, **column}) for column in columns]


def project_macros(engine: str = "duckdb", date_order: str = "ymd", timezone: str = "UTC") -> dict[str, Callable]:
    """The macros that read source columns, by name, with these values of source_date_order and business_timezone."""
    environment = Environment(extensions=["jinja2.ext.do"])
    environment.globals |= {
        "return": _return,
        "target": SimpleNamespace(type=engine),
        "setting": {"source_date_order": date_order}.__getitem__,
        "business_timezone": lambda: timezone,
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
    environment.globals |= macros
    return macros


def moment(column: str) -> str:
    """SQL for DuckDB: the column as UTC, read as in staging; null if it is unreadable."""
    return str(project_macros()["moment"](column))
