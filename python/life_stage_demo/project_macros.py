"""SQL expressions of the project's macros, rendered without dbt."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

from jinja2 import Environment

MACROS = Path(__file__).parents[2] / "macros"
FILES = (MACROS / "moments.sql", MACROS / "engine" / "expressions.sql")


class ReturnError(Exception):
    """The value of a macro that ends with return()."""


def _return(value: object) -> NoReturn:
    raise ReturnError(value)


def project_macros(engine: str = "duckdb", date_order: str = "ymd", timezone: str = "UTC") -> dict[str, Callable]:
    """The macros that read source columns, by name, with these values of source_date_order and business_timezone."""
    environment = Environment(extensions=["jinja2.ext.do"])
    environment.globals |= {
        "return": _return,
        "target": SimpleNamespace(type=engine),
        "setting": {"source_date_order": date_order}.__getitem__,
        "business_timezone": lambda: timezone,
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
    environment.globals |= macros
    return macros


def moment(column: str) -> str:
    """SQL for DuckDB: the column as UTC, read as in staging; null if it is unreadable."""
    return str(project_macros()["moment"](column))
