"""Types of source columns: each type of DuckDB and Arrow in each column of the contract is read or refused by name."""

import re
from datetime import date, datetime
from decimal import Decimal
from functools import cache

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from life_stage.engine import contract
from life_stage.engine.contract import FITTING, family, file_groups, kind, wrong_columns
from life_stage.engine.project_macros import project_macros, source_contract

TABLES = ("actions", "items", "children", "consents", "requests", "answers")
MACROS = project_macros()
READERS = {
    "id": [MACROS["id_of"], MACROS["has_lost_digits"]],
    "number": [MACROS["number_of"], MACROS["price_of"], MACROS["whole_number_of"]],
    "text": [lambda column: f"nullif(trim({column}), '')"],
    "time": [MACROS["moment"]],
    "date": [MACROS["day"], MACROS["is_date_only"]],
    "properties": [MACROS["json_map"]],
}
WRONG = {  # family of types: kinds of columns that refuse it
    "other": {"id", "text", "number", "time", "date", "properties"},
    "nested": {"id", "text", "number", "time", "date"},
    "time": {"id", "text", "number", "properties"},
    "date": {"id", "text", "number", "properties"},
    "integer": {"properties"},
    "decimal": {"properties", "date"},
    "float": {"properties", "date"},
    "text": set(),
}
OTHERS = r"(BOOLEAN|TIME|TIME_NS|INTERVAL|BLOB|BIT|GEOMETRY|UNION|TUPLE)\b|.*\]$"
ARROW = {
    pa.int8(): 7,
    pa.uint64(): 18446744073709551615,
    pa.float16(): 7.0,
    pa.float32(): 7.0,
    pa.decimal128(38, 0): Decimal("99999999999999999999999999999999999999"),
    pa.decimal256(40, 2): Decimal("7.00"),
    pa.string(): "7",
    pa.large_string(): "7",
    pa.string_view(): "7",
    pa.dictionary(pa.int32(), pa.string()): "7",
    pa.binary(): b"7",
    pa.large_binary(): b"7",
    pa.binary(1): b"7",
    pa.null(): None,
    pa.bool_(): True,
    pa.date32(): date(2016, 5, 3),
    pa.date64(): date(2016, 5, 3),
    pa.time32("s"): 7,
    pa.time64("ns"): 7,
    pa.timestamp("s"): datetime(2016, 5, 3),
    pa.timestamp("ms"): datetime(2016, 5, 3),
    pa.timestamp("us", "Asia/Shanghai"): datetime(2016, 5, 3),
    pa.timestamp("ns"): datetime(2016, 5, 3),
    pa.duration("s"): 7,
    pa.list_(pa.int64()): [7],
    pa.list_(pa.int64(), 1): [7],
    pa.large_list(pa.string()): ["7"],
    pa.struct({"a": pa.int64()}): {"a": 7},
    pa.map_(pa.string(), pa.string()): [("a", "7")],
}


@cache
def readings_of(column: str, of_kind: str) -> str:
    """SQL of all that staging reads from a column of raw."""
    return ", ".join(str(reader(f"raw.{column}")) for reader in READERS[of_kind])


@pytest.fixture(scope="module")
def connection():
    """A database in UTC."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection


def types_of(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    return {name: type_name for name, type_name, *_ in connection.sql(f"describe from {relation}").fetchall()}


def assert_read_or_refused(connection: duckdb.DuckDBPyConnection, relation: str, given: str, type_name: str) -> None:
    """Assert it of a relation's column in every column of the contract."""
    for table in TABLES:
        for column in source_contract(table):
            types = {found["name"]: "VARCHAR" for found in source_contract(table)} | {column["name"]: type_name}
            declared = source_contract(table)
            wrong = wrong_columns(table, "a.parquet", types, declared)
            where = f"{table}.{column['name']} of type {type_name[:40]}"
            if kind(column) in WRONG[family(type_name)]:
                assert len(wrong) == 1 and f"LS-SRC-003 {table}.{column['name']} in a.parquet is" in wrong[0], where
                continue
            assert wrong == [], where
            renamed = f"(select {given} as {column['name']} from {relation}) as given"
            sql = MACROS["in_contract"](renamed, table, {column["name"]: type_name}, "''")
            values = readings_of(column["name"], kind(column))
            try:
                connection.execute(f"select {values} from ({sql}) as raw").fetchall()
            except duckdb.Error as error:
                raise AssertionError(f"{where}: {error}") from error


def every_type() -> list[str]:
    with duckdb.connect() as connection:
        return list(types_of(connection, "test_all_types()"))


@pytest.mark.fault("Files and columns", "any type of DuckDB in any column", "read, or LS-SRC-003")
@pytest.mark.parametrize("name", every_type())
def test_a_column_of_any_type_of_duckdb_is_read_or_refused_by_name(connection, name):
    """With the type's least and greatest value, and null."""
    type_name = types_of(connection, "test_all_types()")[name]
    assert (family(type_name) == "other") == bool(re.match(OTHERS, type_name)), type_name[:40]
    assert_read_or_refused(connection, "test_all_types()", f'"{name}"', type_name)


@pytest.mark.fault("Files and columns", "any type of Arrow in any column", "read, or LS-SRC-003")
@pytest.mark.parametrize("arrow", ARROW, ids=str)
def test_a_column_of_any_type_of_arrow_is_read_or_refused_by_name(connection, tmp_path, arrow):
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": pa.array([ARROW[arrow], None], arrow)}), file)
    relation = f"read_parquet('{file}', binary_as_string = true)"
    assert_read_or_refused(connection, relation, "x", types_of(connection, relation)["x"])


def test_every_kind_of_column_says_which_families_fit():
    kinds = {kind(column) for table in TABLES for column in source_contract(table)}
    assert kinds == FITTING.keys() == READERS.keys()
    for refused, found in WRONG.items():
        assert found == {name for name, fitting in FITTING.items() if refused not in fitting}, refused


@pytest.mark.parametrize(
    ("value", "text"),
    {
        "7::tinyint": "7",
        "18446744073709551615::ubigint": "18446744073709551615",
        "170141183460469231731687303715884105727::hugeint": "170141183460469231731687303715884105727",
        "7.00::decimal(18, 2)": "7",
        "12345678901234567890::decimal(38, 0)": "12345678901234567890",
        "9007199254740991::double": "9007199254740991",
        "9007199254740992::double": None,
        "16777216::float": None,
        "'nan'::double": None,
        "'0042'": "0042",
        "'12.00'": "12",
        "' 7 '": "7",
        "'=\"10.05\"'": "10.05",
        "'=\"AB.01\"'": "AB.01",
        "'=\"1.2E+17\"'": None,
        "'1.2E+17'": None,
        "'1E+5x'": "1E+5x",
        "'''42'": "42",
        "'O''Neill'": "O'Neill",
        "'a3f1b6e4-0000-4000-8000-000000000001'::uuid": "a3f1b6e4-0000-4000-8000-000000000001",
    }.items(),
)
def test_an_id_is_the_number_it_stands_for_or_unreadable(connection, value, text):
    ((type_name,),) = connection.execute(f"select typeof({value})").fetchall()
    sql = MACROS["in_contract"](f"(select {value} as item_id)", "items", {"item_id": type_name}, "''")
    assert connection.execute(f"select {MACROS['id_of']('item_id')} from ({sql})").fetchall() == [(text,)]


def test_of_many_files_one_of_each_schema_is_described_and_none_twice(tmp_path, monkeypatch):
    """The groups are those of files that are described one by one; a file that changes is described again."""
    monkeypatch.setenv("LIFE_STAGE_SOURCE", str(tmp_path))
    texts, numbers = pa.table({"user_id": ["a", "b"]}), pa.table({"user_id": [1, 2]})
    for n in range(40):
        pq.write_table(numbers if n % 10 == 0 else texts, tmp_path / f"{n:02}.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    files, described, types_of = sorted(file.name for file in tmp_path.iterdir()), [], contract.types_of
    monkeypatch.setattr(contract, "types_of", lambda rows: described.append(rows) or types_of(rows))
    with_broken = {tuple(group["files"]) for group in file_groups(files)}
    files.remove("broken.parquet")
    (tmp_path / "broken.parquet").unlink()
    contract._columns.clear()
    described.clear()
    wanted = {tuple(files[::10]), tuple(name for n, name in enumerate(files) if n % 10)}
    assert {tuple(group["files"]) for group in file_groups(files)} == wanted
    assert with_broken == wanted | {("broken.parquet",)}
    assert file_groups(files[5:]) and len(described) == 2
    pq.write_table(pa.table({"user_id": ["a"], "price": [1.5]}), tmp_path / "07.parquet")
    assert file_groups(["07.parquet"])[0]["types"].keys() == {"user_id", "price"}
