"""Types of source columns: which fit the contract of models/sources.yml, and how their values become its texts.

macros/sources.sql calls these functions through the modules of dbt's Jinja context (python/dbt_life_stage.py).
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import duckdb

from life_stage import paths
from life_stage.mapping import likely, mapping_of
from life_stage.paths import sql_literal

TABLES = ("actions", "items", "children")
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
OPTIONS = "hive_partitioning = false, filename = 'source_file'"
CSV_OPTIONS = """union_by_name = true, quote = '"', escape = '"', comment = ''"""  # each file has its own dialect
SCHEMAS = """
    select
        file_name, name, type, type_length, repetition_type, num_children, converted_type, scale, precision,
        logical_type
    from parquet_schema([{patterns}])
"""
WANTED = {
    "id": "text or a number",
    "text": "text or a number",
    "number": "a number or text",
    "time": "a timestamp, a date or text",
    "date": "a date, a timestamp or text",
    "properties": "a JSON object as text, a map or a struct",
}

Columns = tuple[tuple[str, str], ...]
_columns: dict[tuple[str, tuple[str, ...], str], Columns] = {}  # by file, names and version


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
        others = [name for name in types if name not in known]
        guesses = {column: likely(column, others) for column in missing}
        meant = ", ".join(f"{name} is meant as {column}" for column, name in guesses.items() if name)
        found += f"; perhaps {meant}" if meant else ""
        return [
            f"LS-SRC-002 {table}.{', '.join(missing)} is missing in {where}: {found}: map them by life-stage map, or"
            " rename them"
        ]
    return [
        f"LS-SRC-003 {table}.{column['name']} in {where} is {types[column['name']]}: give {WANTED[kind(column)]}"
        for column in contract
        if column["name"] in types and family(types[column["name"]]) not in FITTING[kind(column)]
    ]


def file_groups(files: list[str], names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Files of the source that can be read at once, as they have the same columns: [{files, rows, types}].

    DuckDB would read whole numbers beside decimals as decimals, and lose their last digits. rows: SQL of all columns
    and source_file; types: none of files that cannot be read. names: the columns of CSV files without a header row.
    """
    groups = defaultdict(list)
    for file, columns in columns_of(files, tuple(names)).items():
        groups[is_parquet(file), columns].append(file)
    return [
        {"files": found, "rows": rows_of(found, names), "types": dict(columns)}
        for (_, columns), found in groups.items()
    ]


def is_parquet(file: str) -> bool:
    """True for a Parquet file, by its name; the others are CSV."""
    return file.lower().endswith(".parquet")


def rows_of(files: list[str], names: Sequence[str] = ()) -> str:
    """SQL of the rows of files of one format, with their names within the source as source_file."""
    header = f"header = false, names = [{', '.join(map(sql_literal, names))}]" if names else "header = true"
    own = "binary_as_string = true" if is_parquet(files[0]) else f"all_varchar = true, {header}, {CSV_OPTIONS}"
    patterns = ", ".join(map(sql_literal, paths.source_patterns(files)))
    return (
        f"select * replace (substr(source_file, {len(paths.source_directory()) + 2}) as source_file)"
        f" from {'read_parquet' if is_parquet(files[0]) else 'read_csv'}([{patterns}], {own}, {OPTIONS})"
    )


def columns_of(files: list[str], names: tuple[str, ...]) -> dict[str, Columns]:
    """Names in lower case and types of each file's columns; none if it cannot be read.

    Parquet files of equal schemas are described once, and no version of a file twice: there may be thousands.
    """
    versions = {(file, names, version): file for file, version in paths.file_versions(files).items()}
    unknown = [file for version, file in versions.items() if version not in _columns]
    schemas, described = parquet_schemas(unknown), {}
    for version, file in versions.items():
        if version not in _columns:
            schema = schemas.get(file, file)
            if schema not in described:
                described[schema] = tuple(types_of(rows_of([file], names)).items())
            _columns[version] = described[schema]
    return {file: _columns[version] for version, file in versions.items()}


def parquet_schemas(files: list[str]) -> dict[str, tuple[tuple, ...]]:
    """The schemas in the footers of Parquet files, read at once; none if one of the files cannot be read."""
    patterns = ", ".join(map(sql_literal, paths.source_patterns(filter(is_parquet, files))))
    schemas, start = defaultdict(list), len(paths.source_directory()) + 1
    if patterns:
        with suppress(duckdb.Error):  # each is described by itself
            for file, *element in engine().sql(SCHEMAS.format(patterns=patterns)).fetchall():
                schemas[file[start:]].append(tuple(element))
    return {file: tuple(schema) for file, schema in schemas.items()}


def types_of(rows: str) -> dict[str, str]:
    """{column in lower case: type} of a query of rows, without source_file; empty if they cannot be read."""
    try:
        described = engine().sql(f"describe {rows}").fetchall()
    except duckdb.Error:  # the statement that reads them fails with a code
        return {}
    return {name.lower(): type_name for name, type_name, *_ in described if name != "source_file"}


def engine() -> duckdb.DuckDBPyConnection:
    """A cursor of a database without data, for the calling thread: opening one takes longer than what it describes."""
    return _database().cursor()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def delivered(table: str, files: list[str]) -> list[dict[str, Any]]:
    """A table's files in parts, by its mapping if there is one: [{name, rows, types, source_file}].

    name: of the mapping, or of the first file; rows, source_file: SQL; types: none of rows that cannot be read.
    """
    if mapping := mapping_of(table):
        return [
            {"name": f"{mapping.file}", "rows": rows, "types": types_of(rows), "source_file": mapping.source_file}
            for rows in mapped_rows(table, files)
        ]
    return [group | {"name": group["files"][0], "source_file": "source_file"} for group in file_groups(files)]


def mapped_rows(table: str, files: list[str]) -> list[str]:
    """SQL of what a table's mapping selects from its files: a query for each group of files of actions, else one.

    None without a mapping or files. Columns that other files of the pattern have are null. The select of items may
    group rows, so it sees all of them.
    """
    mapping = mapping_of(table)
    if mapping is None or not files:
        return []
    if table != "actions":
        rows = {}
        for pattern in mapping.patterns:
            groups = file_groups([name for name in files if fnmatchcase(name, pattern)], mapping.columns)
            rows[pattern] = " union all by name ".join(group["rows"] for group in groups)
        return [mapping.over(rows)]
    types: dict[str, str] = {}
    for group in file_groups(paths.source_files(table)[0], mapping.columns):
        types = group["types"] | types
    found = []
    for group in file_groups(files, mapping.columns):
        absent = [f'cast(null as {types[name]}) as "{name}"' for name in types if name not in group["types"]]
        padding = f" union all by name select {', '.join(absent)} where false" if absent else ""
        found.append(mapping.over({mapping.patterns[0]: group["rows"] + padding}))
    return found


def wrong_mapping(table: str, files: list[str]) -> list[str]:
    """The message about a mapping that does not fit its files, of which these are read; none if it does."""
    mapping = mapping_of(table)
    known, wrong = paths.source_files(table) if mapping else ([], [])
    if mapping is None or wrong:
        return wrong
    for pattern in mapping.patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            return [f"LS-SRC-001 no file of {paths.source()} matches {pattern} of {mapping.file}: correct one of them"]
    for sql in mapped_rows(table, files):
        try:
            if len(engine().extract_statements(sql)) > 1:
                return [f"LS-SRC-012 {mapping.file} has several statements: keep the select"]
            names = [name for name, *_ in engine().sql(f"describe {sql}").fetchall()]
        except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException) as error:
            what = " ".join(str(error).partition("LINE ")[0].split()).partition(": ")[2]
            return [f"LS-SRC-012 {mapping.file} cannot be run: {what}"]
        except duckdb.Error:  # of a file: the statement that reads it fails with a code
            return []
        if table == "actions" and "source_file" not in names:
            return [f"LS-SRC-012 {mapping.file} does not return source_file: select it"]
    return []
