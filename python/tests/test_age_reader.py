"""Age reader: phrases that are ages and phrases that are not; age_phrases.csv is the list to extend."""

import csv
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from life_stage.text import new_texts
from life_stage.text.reader import AgeReader

PROJECT = Path(__file__).parents[2]
FEATURES = PROJECT / "models" / "life_stage" / "features"
DICTIONARY = PROJECT / "seeds" / "age_words.csv"
with (Path(__file__).parent / "age_phrases.csv").open(encoding="utf-8", newline="") as phrase_file:
    PHRASES = {row["phrase"]: set(row["age_words"].split()) for row in csv.DictReader(phrase_file)}
PIECES = [piece for phrase in PHRASES for piece in (phrase, phrase[:2], phrase[-2:])]
NUMBERS = st.integers(0, 250).map(str)
UNITS = st.sampled_from(["岁", "个月", "岁半", " months", "y", "m+", "-", "至", " "])
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), NUMBERS, UNITS, st.text(max_size=6)), max_size=6).map("".join)
TABLES = {
    "age_words": f"select * from read_csv('{DICTIONARY}', all_varchar = true)",
    "stg_items": "values (1, '宝宝3岁玩具'), (2, '宝宝3岁玩具'), (3, 'iPhone 6'), (4, null)",
    "search_terms": "values (date '2017-01-01', '孕妇 0-6个月'), (date '2017-01-01', '连衣裙')",
}
COLUMNS = {
    "age_words": "word, age_word, from_month, to_month, note",
    "stg_items": "item_id, title",
    "search_terms": "month, search_term",
}


@pytest.fixture(scope="module")
def connection():
    """A database with the dictionary, items and search terms."""
    with duckdb.connect() as database:
        for table, rows in TABLES.items():
            database.execute(f"create table {table} as select * from ({rows}) as rows ({COLUMNS[table]})")
        database.execute("alter table age_words alter from_month type integer")
        database.execute("alter table age_words alter to_month type integer")
        yield database


@pytest.fixture(scope="module")
def reader(connection):
    """The reader of ages with the project's dictionary."""
    return AgeReader(connection.table("age_words").project("word, age_word, from_month, to_month").fetchall())


def read_ages(reader, texts):
    """The ages of each text: {text: {age_word: (from_month, to_month)}}."""
    ages = {}
    for text in texts:
        found = reader.read(text)
        ages[text] = {age_word: tuple(interval) for age_word, *interval in found}
        assert len(ages[text]) == len(found), f"{text!r} has an age twice"
    return ages


def rows_of_text_ages(connection, known=None):
    """Rows of text_ages: those of all texts, or of texts that are not in the table `known`."""
    inputs = {"items": "stg_items", "terms": "search_terms", "dictionary": "age_words"}
    relations = {name: connection.table(table) for name, table in inputs.items()}
    return new_texts.read_ages(connection, **relations, known=known and connection.table(known)).read_all()


def test_every_phrase_of_the_table_is_read_as_expected(reader):
    ages = read_ages(reader, PHRASES)
    misread = {phrase: set(ages[phrase]) for phrase in PHRASES if set(ages[phrase]) != PHRASES[phrase]}
    assert misread == {}


@pytest.mark.parametrize(
    ("text", "age_word", "interval"),
    [
        ("3岁", "3y", (36, 48)),
        ("6个月", "6m", (6, 7)),
        ("一岁半", "18m", (18, 19)),
        ("0-6个月", "0-6m", (0, 6)),
        ("3-6岁", "3-6y", (36, 72)),
        ("孕妇", "pregnancy", (-9, 0)),
        ("3段", "1-3y", (12, 36)),
    ],
)
def test_an_age_word_covers_the_months_it_names(reader, text, age_word, interval):
    assert read_ages(reader, [text])[text] == {age_word: interval}


def test_an_age_word_covers_the_same_months_however_it_was_written(connection, reader):
    months_covered = {}
    dictionary = connection.execute("select age_word, from_month, to_month from age_words").fetchall()
    for age_word, *interval in dictionary:
        months_covered.setdefault(age_word, set()).add(tuple(interval))
    for ages in read_ages(reader, PHRASES).values():
        for age_word, interval in ages.items():
            months_covered.setdefault(age_word, set()).add(interval)
    assert {age_word: found for age_word, found in months_covered.items() if len(found) > 1} == {}


def test_the_dictionary_has_each_word_once_in_its_normalised_spelling(connection):
    words = [word for (word,) in connection.execute("select word from age_words").fetchall()]
    assert len(words) == len(set(words))
    assert words == [word.lower().strip() for word in words]


def test_a_dictionary_word_without_age_hides_a_shorter_word(connection):
    words = connection.execute("select word, age_word from age_words").fetchall()
    with_age = [word for word, age_word in words if age_word]
    hiding_nothing = [word for word, age_word in words if not age_word and not any(short in word for short in with_age)]
    assert hiding_nothing == []


@pytest.mark.fault("Text", "any text, parsed for ages", "only possible ages")
@settings(max_examples=300, deadline=None)
@given(texts=st.lists(TEXTS, max_size=40, unique=True))
def test_any_text_gives_only_ages_between_conception_and_fourteen_years(reader, texts):
    for ages in read_ages(reader, texts).values():
        for from_month, to_month in ages.values():
            assert -9 <= from_month < to_month <= 168
            assert to_month - from_month <= 72


@pytest.mark.parametrize("piece", ["宝宝3岁 ", "1", "a", "one", "3m", "0-", "孕", " ", "age ", "1岁半-"])
def test_a_megabyte_of_text_is_read(reader, piece):
    text = (piece * 1_000_000)[:1_000_000] + " 孕晚期"
    assert "pregnancy_late" in read_ages(reader, [text])[text]


def rows_of_feature(connection, name):
    """Rows of a feature group on the texts' ages, in order."""
    ages = rows_of_text_ages(connection)
    sql = (FEATURES / f"{name}.sql").read_text(encoding="utf-8").replace('{{ ref("', "").replace('") }}', "")
    return connection.register("text_ages", ages).sql(sql).order("all").fetchall()


def test_items_with_the_same_title_get_the_same_age_and_others_none(connection):
    assert rows_of_feature(connection, "feature_title_ages") == [(1, "title_age=3y"), (2, "title_age=3y")]


def test_a_search_term_carries_every_age_it_names(connection):
    rows = rows_of_feature(connection, "feature_search_ages")
    assert rows == [("孕妇 0-6个月", "search_age=0-6m"), ("孕妇 0-6个月", "search_age=pregnancy")]


def test_a_text_is_read_once_and_again_by_another_reader(connection):
    read = rows_of_text_ages(connection)
    assert set(read["text"].to_pylist()) == {"宝宝3岁玩具", "iPhone 6", "孕妇 0-6个月", "连衣裙"}
    assert [row["age_word"] for row in read.to_pylist() if row["text"] == "连衣裙"] == [None]
    connection.register("read", read)
    connection.execute("create or replace table known as from read where text <> '连衣裙'")
    assert rows_of_text_ages(connection, "known")["text"].to_pylist() == ["连衣裙"]
    connection.execute("update known set reader = 'another' where text = 'iPhone 6'")
    assert set(rows_of_text_ages(connection, "known")["text"].to_pylist()) == {"连衣裙", "iPhone 6"}
