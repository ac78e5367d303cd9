"""Age reader: phrases that are ages and phrases that are not; age_phrases.csv is the list to extend."""

import csv
import shutil
from pathlib import Path

import duckdb
import pytest
from dbt.cli.main import dbtRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PROJECT = Path(__file__).parents[2]
FEATURES = PROJECT / "models" / "life_stage" / "features"
FEATURE_FILES = [FEATURES / f"{name}.sql" for name in ("text_ages", "feature_title_ages", "feature_search_ages")]
with (Path(__file__).parent / "age_phrases.csv").open(encoding="utf-8", newline="") as phrase_file:
    PHRASES = {row["phrase"]: set(row["age_words"].split()) for row in csv.DictReader(phrase_file)}
PIECES = [piece for phrase in PHRASES for piece in (phrase, phrase[:2], phrase[-2:])]
NUMBERS = st.integers(0, 250).map(str)
UNITS = st.sampled_from(["岁", "个月", "岁半", " months", "y", "m+", "-", "至", " "])
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), NUMBERS, UNITS, st.text(max_size=6)), max_size=6).map("".join)
SCRATCH_FILES = {
    "dbt_project.yml": "name: ages\nprofile: ages\nflags: {send_anonymous_usage_stats: false}\n",
    "profiles.yml": "ages: {target: t, outputs: {t: {type: duckdb, path: ages.duckdb, threads: 1}}}\n",
    "seeds/phrases.csv": "phrase\n3岁\n",
    "seeds/stg_items.csv": "item_id,title\n1,宝宝3岁玩具\n2,宝宝3岁玩具\n3,iPhone 6\n",
    "seeds/search_terms.csv": "search_term\n孕妇 0-6个月\n连衣裙\n",
    "models/phrase_ages.sql": "{{ config(materialized='view') }} {{ read_ages(ref('phrases'), 'phrase') }}",
}


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    """A warehouse in which the view phrase_ages reads whatever the table phrases holds."""
    scratch = tmp_path_factory.mktemp("ages")
    for folder in ("seeds", "models", "macros"):
        (scratch / folder).mkdir()
    for name, text in SCRATCH_FILES.items():
        (scratch / name).write_text(text, encoding="utf-8")
    shutil.copy(PROJECT / "seeds" / "age_words.csv", scratch / "seeds")
    for model in FEATURE_FILES:
        shutil.copy(model, scratch / "models")
    for macros in [PROJECT / "macros" / "read_ages.sql", *(PROJECT / "macros").glob("*portable.sql")]:
        shutil.copy(macros, scratch / "macros")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(scratch)
        result = dbtRunner().invoke(["build", "--project-dir", ".", "--profiles-dir", ".", "--quiet"])
    assert result.success, result.exception or [node.message for node in result.result]
    with duckdb.connect(scratch / "ages.duckdb") as warehouse:
        yield warehouse


def read_ages(connection, texts):
    """The ages of each text: {text: {age_word: (from_month, to_month)}}."""
    connection.execute("delete from phrases")
    connection.execute("insert into phrases select unnest(?::varchar[])", [list(texts)])
    ages = {text: {} for text in texts}
    for text, age_word, *interval in connection.execute(
        "select text, age_word, from_month, to_month from phrase_ages"
    ).fetchall():
        assert age_word not in ages[text], f"{text!r} has {age_word} twice"
        ages[text][age_word] = tuple(interval)
    return ages


def test_every_phrase_of_the_table_is_read_as_expected(connection):
    ages = read_ages(connection, PHRASES)
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
def test_an_age_word_covers_the_months_it_names(connection, text, age_word, interval):
    assert read_ages(connection, [text])[text] == {age_word: interval}


def test_an_age_word_covers_the_same_months_however_it_was_written(connection):
    months_covered = {}
    dictionary = connection.execute("select age_word, from_month, to_month from age_words").fetchall()
    for age_word, *interval in dictionary:
        months_covered.setdefault(age_word, set()).add(tuple(interval))
    for ages in read_ages(connection, PHRASES).values():
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
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, max_size=40, unique=True))
def test_any_text_gives_only_ages_between_conception_and_fourteen_years(connection, texts):
    texts = [text.replace("\0", "") for text in texts]
    for ages in read_ages(connection, set(texts)).values():
        for from_month, to_month in ages.values():
            assert -9 <= from_month < to_month <= 168
            assert to_month - from_month <= 72


@pytest.mark.parametrize("piece", ["宝宝3岁 ", "1", "a", "one", "3m", "0-", "孕", " ", "age ", "1岁半-"])
def test_a_megabyte_of_text_is_read(connection, piece):
    text = (piece * 1_000_000)[:1_000_000] + " 孕晚期"
    assert "pregnancy_late" in read_ages(connection, [text])[text]


def test_items_with_the_same_title_get_the_same_age_and_others_none(connection):
    rows = connection.execute("select item_id, feature from feature_title_ages order by item_id").fetchall()
    assert rows == [(1, "title_age=3y"), (2, "title_age=3y")]


def test_a_search_term_carries_every_age_it_names(connection):
    rows = connection.execute("select * from feature_search_ages order by feature").fetchall()
    assert rows == [("孕妇 0-6个月", "search_age=0-6m"), ("孕妇 0-6个月", "search_age=pregnancy")]
