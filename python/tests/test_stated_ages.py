"""Ages that parents state: a sample labelled by hand, stated_ages.csv; and a review log that becomes a source."""

import csv
import json
import time
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from life_stage.commands import reviews
from life_stage.text.stated_ages import stated_ages

with (Path(__file__).parent / "stated_ages.csv").open(encoding="utf-8", newline="") as sample:
    SAMPLE = {row["text"]: [int(age) for age in (row["from_month"] or "").split()] for row in csv.DictReader(sample)}


def test_what_is_read_is_stated_and_most_of_what_is_stated_is_read():
    """Precision .95 and recall .9, of ages in months."""
    found = {text: [age.from_month for age in stated_ages(text)] for text in SAMPLE}
    n_found, n_stated = (sum(map(len, ages.values())) for ages in (found, SAMPLE))
    n_right = sum(len(set(found[text]) & set(SAMPLE[text])) for text in SAMPLE)
    wrong = {text: ages for text, ages in found.items() if ages != SAMPLE[text]}
    print(f"{len(SAMPLE)} texts: precision {n_right} of {n_found}, recall {n_right} of {n_stated}; others: {wrong}")
    assert n_stated > 40 and sum(not ages for ages in SAMPLE.values()) > 30
    assert n_right >= 0.95 * n_found and n_right >= 0.9 * n_stated, wrong


@given(
    st.lists(st.one_of(st.sampled_from([*SAMPLE, "my ", "6 ", "month ", "old "]), st.text(max_size=9))).map(" ".join)
)
def test_any_text_states_only_ages_of_children(text):
    assert all(0 <= age.from_month < age.to_month <= 168 for age in stated_ages(text))


def test_a_long_text_takes_linear_time():
    began = time.monotonic()
    for text in ("my " * 5000, "my very " * 3000, "i have a 6 " * 2000, "my 6 month " * 2000):
        stated_ages(text)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("is_json", [True, False])
def test_a_review_log_becomes_a_source(tmp_path, is_json):
    texts = [("u1", "b", "Great", "My 6 month old loves it."), ("u1", "c", "Ok", "fine"), ("u2", "b", "My 2yo", "")]
    log, described = tmp_path / ("reviews.jsonl" if is_json else "reviews.csv"), tmp_path / "items.jsonl"
    if is_json:  # milliseconds since 1970
        rows = [dict(user_id=u, parent_asin=i, title=h, text=t, timestamp=1488326400000) for u, i, h, t in texts]
        log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [f'{u},{i},{h},"{t}",2017-03-01' for u, i, h, t in texts]
        log.write_text("\n".join(["reviewerID,asin,summary,reviewText,review_date", *lines]))
    described.write_text(json.dumps({"parent_asin": "b", "title": "Toy", "main_category": "Baby", "store": "Sora"}))
    printed = reviews.write_source(log, described, tmp_path / "source")
    assert printed.startswith("3 of 3 reviews of 2 users, 2 statements of an age by 2 of them: LIFE_STAGE_SOURCE=")
    actions = duckdb.sql(f"from read_parquet('{tmp_path}/source/actions/*/*.parquet') order by user_id, item_id")
    assert [str(row[1])[:10] for row in actions.fetchall()] == ["2017-03-01"] * 3
    items = duckdb.sql(f"select item_id, title, category, brand from '{tmp_path}/source/items.parquet'").fetchall()
    assert items == [("b", "Toy", "Baby", "Sora")]
    children = f"select user_id, birth_date, registered_at from '{tmp_path}/source/children.parquet' order by 1"
    (first, second) = duckdb.sql(children).fetchall()
    days = [(registered - birth).days for _, birth, registered in (first, second)]
    assert [first[0], second[0]] == ["u1", "u2"] and days[0] == pytest.approx(198, abs=2) and days[1] > 2 * 365
    with pytest.raises(ValueError, match=r"^LS-REV-001 .* exists: name a new folder"):
        reviews.write_source(log, None, tmp_path / "source")


def test_reviews_without_a_column_are_named(tmp_path):
    (tmp_path / "reviews.csv").write_text("user_id,rating\n1,5\n")
    with pytest.raises(ValueError, match=r"^LS-REV-001 .*reviews\.csv has no column for item_id, reviewed_at, text: "):
        reviews.write_source(tmp_path / "reviews.csv", None, tmp_path / "source")
    assert not (tmp_path / "source").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("reviews.xml", "<reviews/>", "is no file of the formats"),
        ("reviews.jsonl", "{not json", "the reviews cannot be read"),
        ("reviews.csv", "user_id,asin,text,time\nu,i,t,12/03/2014", "1 of 1 reviews have no readable time"),
    ],
)
def test_reviews_that_cannot_be_read_are_an_error_and_leave_nothing(tmp_path, name, text, message, capsys):
    (tmp_path / name).write_text(text)
    with pytest.raises(SystemExit) as exit_of:
        reviews.main(tmp_path / name, None, tmp_path / "source")
    assert str(exit_of.value).startswith("LS-REV-001") and message in str(exit_of.value)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "at", ["1488326400", "1488326400.0", "1488326400000", "2017-03-01", "2017-03-01T02:00:00+02:00"]
)
def test_times_of_reviews_are_read_as_in_any_source(tmp_path, at):
    (tmp_path / "reviews.tsv").write_text(f"customer_id\tproduct_id\treview_body\treview_date\nu\ti\tt\t{at}\n")
    reviews.write_source(tmp_path / "reviews.tsv", None, tmp_path / "source")
    (row,) = duckdb.sql(f"select occurred_at from read_parquet('{tmp_path}/source/actions/*/*.parquet')").fetchall()
    assert str(row[0]) == "2017-03-01 00:00:00"
