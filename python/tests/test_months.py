"""Planning of monthly tables, against statements of what has to be built."""

from hypothesis import given
from hypothesis import strategies as st

from life_stage.engine.months import (
    keeps_state,
    pending,
    sql_of_months,
    to_update,
    with_cumulative_hashes,
    with_retention,
)

MONTHS = [f"{year}-{month:02}-01" for year in (2015, 2016) for month in range(1, 13)]
CONTENTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=24)


def rows_of(contents):
    return [{"month": month, "input_hash": text} for month, text in zip(MONTHS, contents, strict=False)]


def built_from(rows):
    return {row["month"]: row["input_hash"] for row in rows}


@given(CONTENTS, CONTENTS)
def test_a_changed_month_and_all_later_ones_are_updated_from_a_stored_state(before, now):
    old, new = (with_cumulative_hashes(rows_of(contents)) for contents in (before, now))
    state = {month: text for month, text in built_from(old).items() if keeps_state(month) or month == old[-1]["month"]}
    updating, changed = to_update(new, built_from(old), state)
    same = next((n for n, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now)))
    assert changed == [row["month"] for row in new[same:]]
    if changed:
        assert [row["month"] for row in updating][-len(changed) :] == changed
        assert updating[0]["previous_month"] in (*state, "1900-01-01")
        assert not any(row["month"] in state for row in new[:same] if row in updating)
    else:
        assert updating == []


def test_an_update_that_was_killed_leaves_no_later_month_that_looks_valid():
    old, new = (with_cumulative_hashes(rows_of(contents)) for contents in ("aaa", "baa"))
    killed_after_the_first = built_from(old) | built_from(new[:1])
    updating, changed = to_update(new, killed_after_the_first, built_from(new[:1]))
    assert changed == MONTHS[1:3] == [row["month"] for row in updating]


def test_states_of_decembers_are_kept():
    assert [month for month in MONTHS if keeps_state(month)] == ["2015-12-01", "2016-12-01"]


@given(CONTENTS, CONTENTS)
def test_of_an_independent_table_only_changed_months_are_pending(before, now):
    found = pending(rows_of(now), built_from(rows_of(before)))
    assert [row["month"] for row in found] == [
        month for n, month in enumerate(MONTHS[: len(now)]) if n >= len(before) or now[n] != before[n]
    ]


def test_a_month_past_retention_stays_as_it_is_or_is_left_out():
    rows = rows_of("abc")
    kept = with_retention(rows, {"2015-01-01": "old"}, "2015-03-01")
    assert [(row["month"], row["input_hash"]) for row in kept] == [("2015-01-01", "old"), ("2015-03-01", "c")]
    assert with_cumulative_hashes(kept)[0]["input_hash"] == "old"


def test_without_a_month_a_row_remains_that_creates_the_table():
    assert with_retention(rows_of("a"), {}, "2016-01-01") == [{"month": "2015-01-01", "input_hash": None}]


def test_placeholders_are_those_of_the_first_month_and_the_list_of_all():
    rows = [{"month": "2015-01-01", "input_hash": "a"}, {"month": "2015-02-01", "input_hash": "b"}]
    sql = sql_of_months("select date '__month__' where month in (__pending_months__)", rows)
    assert sql == "select date '2015-01-01' where month in (date '2015-01-01', date '2015-02-01')"
    rows[0] |= {"files": "'a__month__.csv'"}
    assert sql_of_months("__files__, '__month__'", rows) == "'a__month__.csv', '2015-01-01'", "a value is kept"
