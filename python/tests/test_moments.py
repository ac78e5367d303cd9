"""Reader of moments: every form of moments.csv in every column of the source that holds a time or a date."""

import csv
import re
from datetime import datetime
from functools import cache
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from life_stage.engine.project_macros import project_macros

PROJECT = Path(__file__).parents[2]
COLUMNS = {  # the reader of each column, as its model calls it
    "occurred_at": "models/staging/stg_action_rows.sql",
    "registered_at": "models/staging/stg_child_rows.sql",
    "birth_date": "models/staging/stg_child_rows.sql",
    "granted_at": "macros/consents.sql",
}
with (Path(__file__).parent / "moments.csv").open(encoding="utf-8", newline="") as file:
    FORMS = list(csv.DictReader(file))
TYPED = {  # moment, day in Shanghai
    "timestamp '2016-05-02 16:00:00'": ("2016-05-02 16:00:00", "2016-05-02"),
    "timestamp_ns '2016-05-02 16:00:00.5'": ("2016-05-02 16:00:00.5", "2016-05-02"),
    "timestamptz '2016-05-02 16:00:00+00'": ("2016-05-02 16:00:00", "2016-05-03"),
    "date '2016-05-03'": ("2016-05-03 00:00:00", "2016-05-03"),
    "1462204800::bigint": ("2016-05-02 16:00:00", "2016-05-03"),
    "1462204800123::hugeint": ("2016-05-02 16:00:00.123", "2016-05-03"),
    "1462204800.0::double": ("2016-05-02 16:00:00", "2016-05-03"),
    "1462204800::decimal(18, 2)": ("2016-05-02 16:00:00", "2016-05-03"),
    "20160503": ("2016-05-03 00:00:00", "2016-05-03"),
    "42493": (None, None),
    "null": (None, None),
}
WRITTEN = [  # forms of strftime
    *("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%d %H:%M:%S,%f UTC", "%Y/%m/%d %H:%M:%S.%f +0000"),
    *("%Y.%m.%d %H:%M:%S.%f GMT+0", "%Y年%m月%d日 %H:%M:%S.%f", "%Y%m%d %H:%M:%S.%f", "%d %B %Y %H:%M:%S.%f"),
    *("%A, %b %d, %Y, %I:%M:%S.%f %p", "%d-%b-%Y %I.%M.%S.%f %p", "%d/%b/%Y:%H:%M:%S.%f +00:00"),
    *("%d/%m/%Y %H:%M:%S.%f", "%d.%m.%Y, %I:%M:%S.%f %p", "%d-%m-%YT%H:%M:%S.%f-00:00"),
]


@cache
def reader(column: str, **options: str) -> str:
    """The SQL that reads the column x as the model of the column does."""
    source = (PROJECT / COLUMNS[column]).read_text(encoding="utf-8")
    (macro,) = re.findall(rf'{{{{ (moment|day)\("(?:\w+\.)?{column}"\) }}}}', source)
    return str(project_macros(**options)[macro]("x"))


@pytest.fixture(scope="module")
def connection():
    """A database in UTC."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection


def read(connection: duckdb.DuckDBPyConnection, sql: str, texts: list[str]) -> list:
    """The values of a reader for these texts."""
    found = connection.execute(f"select {sql} from (select unnest(?::varchar[]) as x)", [texts]).fetchall()
    return [value for (value,) in found]


def expected_of(column: str, moment: str | None, day: str | None) -> str | None:
    return (day if column == "birth_date" else moment) or None


@pytest.mark.fault(
    "Rows", "90 forms of times and dates in four columns", "the moment in UTC, or unreadable; none guessed"
)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_text_is_read_as_the_same_moment_in_every_column(connection, column):
    wrong = {}
    for order in {row["order"] for row in FORMS}:
        sql = reader(column, source_date_order=order or "ymd", business_timezone="Asia/Shanghai")
        rows = [row for row in FORMS if row["order"] == order]
        found = read(connection, f"({sql})::varchar", [row["text"] for row in rows])
        for row, value in zip(rows, found, strict=True):
            expected = expected_of(column, row["moment"], row["day_in_shanghai"])
            if value != expected:
                wrong[row["form"]] = (row["text"], value, expected)
    assert wrong == {}
    assert len(FORMS) >= 90


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("value", TYPED)
def test_a_typed_column_is_read_as_its_text_would_be(connection, column, value):
    sql = reader(column, business_timezone="Asia/Shanghai")
    ((found,),) = connection.execute(f"select ({sql})::varchar from (select {value} as x)").fetchall()
    assert found == expected_of(column, *TYPED[value])


@pytest.mark.fault("Rows", "any moment, written in fourteen forms", "read as itself")
@settings(max_examples=30, deadline=None)
@given(moments=st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31)), max_size=20))
def test_any_moment_in_any_form_is_read_as_itself(connection, moments):
    written = {moment.strftime(form): moment for moment in moments for form in WRITTEN}
    assert read(connection, reader("occurred_at", source_date_order="dmy"), list(written)) == list(written.values())


@pytest.mark.fault("Rows", "any text as a time", "read or unreadable, never an error")
@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.one_of(st.text(max_size=30), st.from_regex(r"\A[0-9/.:TZ+ -]{1,30}\Z")), max_size=30))
def test_any_text_is_read_or_unreadable_and_never_an_error(connection, texts):
    read(connection, reader("birth_date", source_date_order="mdy", business_timezone="America/Sao_Paulo"), texts)


@pytest.mark.parametrize("text", ["2016-05-03", " 2016/5/3", "2016年5月3日", "20160503", "3 May 2016", "03-MAY-16"])
def test_a_date_without_a_time_of_day_is_known_in_any_form(connection, text):
    sql = str(project_macros()["is_date_only"]("x"))
    for value, expected in {text: True, f"{text} 00:00:00": False, f"{text} soon": False, None: False}.items():
        assert read(connection, sql, [value]) == [expected], value
    typed = "values (date '2016-05-03'), (cast(null as date))"
    assert connection.execute(f"select {sql} from ({typed}) as t(x)").fetchall() == [(True,), (False,)]


def test_only_the_reader_of_moments_casts_a_text_of_the_source_to_a_time():
    """Else a column would read other forms than the contract lists."""
    nested = "[^()]*"
    for _ in range(4):
        nested = rf"(?:[^()]|\({nested}\))*"
    casts = re.compile(rf"try_cast\({nested} as (?:timestamp|date)\w*\)|try_strptime|try_to_timestamp")
    folders = ("models", "macros", "python/life_stage", "python/life_stage_demo")
    files = [path for folder in folders for path in (PROJECT / folder).rglob("*.*") if path.suffix in (".sql", ".py")]
    found = {path.name: len(casts.findall(path.read_text(encoding="utf-8"))) for path in files}
    # The reader itself, and the month in the name of a folder.
    assert {name: n for name, n in found.items() if n} == {"expressions.sql": 6, "source_row_counts.sql": 1}
