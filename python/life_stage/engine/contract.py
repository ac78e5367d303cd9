"""Types of source columns: which fit the contract of models/sources.yml, and how their values become its texts.

macros/sources.sql calls these functions through the modules of dbt's Jinja context (python/dbt_life_stage.py).
"""

import re
from collections import defaultdict
from functools import cache
from typing import Any

import duckdb

from life_stage import paths

FAMILIES = {  # by the beginning of DuckDB's and Spark's names of types, in this order
    "other": r".*\]$|ARRAY|LIST|UNION|TUPLE",
    "nested": r"STRUCT|MAP|JSON|VARIANT|OBJECT",
    "text": r"VARCHAR|STRING|CHAR|TEXT|ENUM|UUID|\"NULL\"|NULL|VOID",
    "time": r"TIMESTAMP|DATETIME",
    "date": r"DATE",
    "integer": r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|LONG|SHORT|BYTE|BIGNUM|VARINT)\b",
    "decimal": r"DECIMAL|NUMERIC",
    "float": r"FLOAT|DOUBLE|REAL",
}
FITTING = {  # kind of column in the contract: families that it can be read from
    "id": ("text", "integer", "decimal", "float"),
    "text": ("text", "integer", "decimal", "float"),
    "number": ("text", "integer", "decimal", "float"),
    "time": ("text", "time", "date", "integer", "decimal", "float"),
    "date": ("text", "time", "date", "integer"),
    "properties": ("text", "nested"),
}
WANTED = {
    "id": "text or a number",
    "text": "text or a number",
    "number": "a number or text",
    "time": "a timestamp, a date or text",
    "date": "a date, a timestamp or text",
    "properties": "a JSON object as text, a map or a struct",
}


def family(type_name: str) -> str:
    """The family of a type of DuckDB or Spark; `other` for those that no column is read from."""
    name = type_name.upper()
    return next((found for found, pattern in FAMILIES.items() if re.match(pattern, name)), "other")


def kind(column: dict[str, Any]) -> str:
    """The kind of a column of the contract: its meta.kind, else by its type."""
    types = {"timestamp": "time", "date": "date"}
    return column["meta"].get("kind") or types.get(column["data_type"], "text")


def wrong_columns(table: str, where: str, types: dict[str, str], contract: list[dict]) -> list[str]:
    """Messages with error codes about a file or table with these columns: what is missing or of another type."""
    first = next(iter(types), "")
    if list(types) == ["column0"] or "," in first:
        return [
            f"LS-SRC-006 {where} is empty, or its rows differ in their number of columns:"
            " deliver the complete file again"
        ]
    known = [column["name"] for column in contract if column["name"] in types]
    missing = [column["name"] for column in contract if column["meta"].get("required") and column["name"] not in types]
    if missing:
        # Without a header row the names are data of a user.
        found = f"its columns are {', '.join(types)}" if known else "none of its column names is known, perhaps it has"
        found += "" if known else " no header row"
        return [
            f"LS-SRC-002 {table}.{', '.join(missing)} is missing in {where}: {found}: rename the columns, or map them"
            " in a view named by var source_schema"
        ]
    return [
        f"LS-SRC-003 {table}.{column['name']} in {where} is {types[column['name']]}: give {WANTED[kind(column)]}"
        for column in contract
        if column["name"] in types and family(types[column["name"]]) not in FITTING[kind(column)]
    ]


def file_groups(files: list[str]) -> list[dict[str, Any]]:
    """Parquet files of the source that can be read at once, as their columns have the same types: [{files, types}].

    DuckDB would read whole numbers beside decimals as decimals, and lose their last digits.
    """
    groups = defaultdict(list)
    for file, pattern in zip(files, paths.source_patterns(files), strict=True):
        groups[columns_of(pattern, (paths.source() / file).stat().st_mtime_ns)].append(file)
    return [{"files": found, "types": dict(columns)} for columns, found in groups.items()]


@cache
def columns_of(pattern: str, _version: int) -> tuple[tuple[str, str], ...]:
    """Names in lower case and types of a file's columns."""
    with duckdb.connect() as connection:
        sql = "describe select * from read_parquet(?, binary_as_string = true)"
        described = connection.execute(sql, [pattern]).fetchall()
    return tuple((name.lower(), type_name) for name, type_name, *_ in described)
