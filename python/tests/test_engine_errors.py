"""Errors of the engine while a source is read: LS-SRC-006 with the file and the cause, and no value of the file."""

import gzip
import random
import re
from types import SimpleNamespace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dbt.adapters.duckdb import connections
from dbt_common.exceptions import DbtRuntimeError

from life_stage import paths
from life_stage.engine.engine_errors import explain_engine_errors, explained
from life_stage.paths import sql_literal

OPTIONS = "union_by_name = true, hive_partitioning = false, filename = 'source_file')"
READERS = {
    "parquet": ("read_parquet", "binary_as_string = true, "),
    "csv": ("read_csv", "all_varchar = true, header = true, quote = '\"', escape = '\"', comment = '', "),
}
COLUMNS = "cast(null as string) as user_id, cast(null as timestamp) as occurred_at, cast(null as string) as source_file"
HEAD, ROW = "user_id,occurred_at\n", "anna@example.org,2017-02-03 10:00:00\n"


def statement(*files):
    """A statement that reads files, with the text of macro read_files."""
    parts = [f"select {COLUMNS} where false"]
    for file in files:
        reader, options = READERS[file.suffixes[0][1:]]
        pattern = sql_literal(paths.source_patterns([file.name])[0])
        parts.append(
            f"select * replace (substr(source_file, 3) as source_file) from {reader}([{pattern}], {options}{OPTIONS}"
        )
    return (
        f"select count(trim(user_id)), min(cast(occurred_at as timestamp)) from ({' union all by name '.join(parts)})"
    )


def csv(odd="", n_rows=30_000):
    return HEAD + ROW * n_rows + odd + ROW


def table(**columns):
    """A Parquet file of two rows."""
    file = pa.BufferOutputStream()
    known = {"user_id": ["anna@example.org", "b"], "occurred_at": ["2017-02-03"] * 2}
    pq.write_table(pa.table(known | columns), file)
    return file.getvalue().to_pybytes()


def flipped(contents):
    """Contents damaged in the middle."""
    middle = len(contents) // 3
    return contents[:middle] + bytes(byte ^ 0xFF for byte in contents[middle:-middle]) + contents[-middle:]


BROKEN = {
    "damaged pages": ("flipped.parquet", flipped(table(user_id=["anna@example.org"] * 2)), ""),
    "cut off": ("cut.parquet", table()[:-20], "magic bytes"),
    "empty": ("empty.parquet", b"", "too small"),
    "text": ("text.parquet", csv().encode(), "magic bytes"),
    "text that is not UTF-8": (
        "blob.parquet",
        table(user_id=pa.array([b"\xff anna", b"b"])),
        "Invalid string encoding",
    ),
    "text with a quote that is not UTF-8": (
        "blob.parquet",
        table(user_id=pa.array([b'\xff"\n anna', b"b"])),
        "encoding",
    ),
    "numbers as times": ("types.parquet", table(occurred_at=[1, 2]), "in column occurred_at"),
    "lists as ids": ("types.parquet", table(user_id=[[1], [2]]), "argument types 'trim(BIGINT[])'"),
    "gzip": ("gzip.csv", gzip.compress(csv().encode(), mtime=0), "CSV Error on Line: "),
    "no gzip": ("plain.csv.gz", csv().encode(), "not a GZIP stream"),
    "UTF-16": ("utf16.csv", csv().encode("utf-16"), "Line: 1"),
    "Latin-1": ("latin.csv", csv("ä,2017-02-03\n").encode("latin-1"), "Line: 30002"),
    "ragged": ("ragged.csv", csv("anna\n").encode(), "Line: 30002"),
    "a quote that is never closed": ("quote.csv", csv('"anna,1\n').encode(), "Line: 30002"),
    "mixed line ends": ("mixed.csv", (HEAD + ROW).replace("\n", "\r\n").encode() + ROW.encode(), "sniffing"),
    "a time that is none": ("types.csv", csv("b,anna@example.org\n").encode(), "Conversion Error"),
    "deleted meanwhile": ("gone.csv", None, "No files found"),
}

if duckdb.__version__ >= "2":  # earlier ones read the first half without an error
    BROKEN["gzip cut off"] = ("cut.csv.gz", gzip.compress(random.Random(1).randbytes(99).hex().encode())[:-30], "GZIP")


@pytest.fixture
def read(tmp_path, monkeypatch):
    """The explained error of a statement that reads files of the source."""
    monkeypatch.setenv("LIFE_STAGE_SOURCE", str(tmp_path))

    def message(*names):
        sql = statement(*(paths.source() / name for name in names))
        with duckdb.connect() as connection, pytest.raises(duckdb.Error) as caught:
            connection.execute(sql)
        return explained(str(caught.value), sql)

    return message


@pytest.mark.fault(
    "Files and columns", "file that the engine cannot read: 17 kinds", "LS-SRC-006 names file and cause, no value of it"
)
@pytest.mark.parametrize("others", [[], ["a.csv", "z.parquet"]], ids=["alone", "among others"])
@pytest.mark.parametrize(("name", "contents", "cause"), BROKEN.values(), ids=BROKEN)
def test_what_the_engine_cannot_read_is_named_without_its_values(read, tmp_path, name, contents, cause, others):
    (tmp_path / "a.csv").write_text(csv(n_rows=3))
    (tmp_path / "z.parquet").write_bytes(table())
    if contents is not None:
        (tmp_path / name).write_bytes(contents)
    message = read(*others, name)
    assert message.startswith("LS-SRC-006 ") and cause in message and "anna" not in message, message
    named = "one of a.csv, " if others and name.startswith("types") else "LS-SRC-006 "
    assert f"{named}{name}" in message, message
    assert len(message.splitlines()) == 1 and message.endswith("no month was changed")
    assert explained(message, "select 1") == message


SQL = "select * from read_csv(['/shop/actions.csv'], header = true)"
OTHER = {
    "a full disk": ("IO Error: Could not write file: No space left on device", SQL, "LS-RUN-003"),
    "too little memory": ("Out of Memory Error: failed to allocate data of size 2.0 MiB", SQL, "LS-RUN-004"),
    "a damaged warehouse": ("IO Error: Corrupt database file: checksum 1 does not match 2", SQL, "LS-RUN-005"),
    "a code of a model": ("Invalid Input Error: LS-SRC-007 900 of 1000 rows", SQL, "Invalid Input Error: LS-SRC-007"),
    "the sandbox": ("Permission Error: disabled by configuration", SQL, "Permission Error"),
    "a missing table": ('Catalog Error: Table with name "x" does not exist', SQL, "Catalog Error"),
    "an interrupt": ("INTERRUPT Error: Interrupted!", SQL, "INTERRUPT"),
    "no source": ("Conversion Error: Could not convert string 'a' to INT32", "select 1", "Conversion Error"),
    "a view of the source": ("CSV Error on Line: 7\nOriginal Line: anna\nanna", "", "LS-SRC-006 a file of the source"),
    "any other phrase": ("Some Error of a later version: 'anna' is odd", SQL, "LS-SRC-006 "),
}


@pytest.mark.parametrize(("message", "sql", "begin"), OTHER.values(), ids=OTHER)
def test_other_causes_keep_their_code(message, sql, begin):
    assert explained(message, sql).startswith(begin)
    assert (
        ("anna" not in explained(message, sql))
        if begin.startswith("LS-SRC-006")
        else message in explained(message, sql)
    )


def test_an_error_in_a_mapping_of_tables_names_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("LIFE_STAGE_MAPPING", str(tmp_path))
    (file := tmp_path / "actions.sql").write_text("select visitor as user_id from raw.evnts; -- ours")
    sql = "describe (select * from (select visitor as user_id from raw.evnts))"
    message = "Runtime Error\n Catalog Error: Table with name evnts does not exist!\nLINE 1: select 'secret'"
    assert re.fullmatch(rf"LS-SRC-012 {file} cannot be run: .*Table with name evnts.*", explained(message, sql))
    assert "secret" not in explained(message, sql) and explained(message, "select 1") == message
    assert "anna" not in explained("Conversion Error: Could not convert string 'anna' to INT32", sql)


def test_parquet_text_without_a_mark_is_read_as_text(tmp_path, monkeypatch):
    monkeypatch.setenv("LIFE_STAGE_SOURCE", str(tmp_path))
    (tmp_path / "a.parquet").write_bytes(table(user_id=pa.array(["größe".encode(), b"b"])))
    assert duckdb.sql(
        f"select max(user_id) from ({statement(tmp_path / 'a.parquet').partition('from (')[2]}"
    ).fetchall()


def test_no_value_of_the_source_reaches_the_log_of_dbt(monkeypatch):
    explain_engine_errors()
    logged = []
    monkeypatch.setattr(connections.logger, "debug", logged.append)
    manager = SimpleNamespace(rollback_if_open=lambda: logged.append("rolled back"))
    with (
        pytest.raises(DbtRuntimeError, match=r"LS-SRC-006 /shop/actions.csv cannot be read"),
        connections.DuckDBConnectionManager.exception_handler(manager, SQL),
    ):
        raise duckdb.InvalidInputException("CSV Error on Line: 7\nOriginal Line: anna\nanna")
    assert "rolled back" in logged and "CSV Error" in str(logged) and "anna" not in str(logged)
