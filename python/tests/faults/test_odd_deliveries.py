"""Delivery with odd ids, texts, files and birthdays: no row is lost, other users' posteriors are unchanged."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from project import Shop, made_once, make_shop, pin_model
from reliability import observe

USERS = [
    "Ümläut",
    "用户",
    "🙂🍼",
    "\u202eabc",
    "a b",
    "o'clock",
    'qu"ote',
    "x" * 2_000,
    "e\u0301",
    "\u00e9",
    "0012",
    "1.50",
]
TERMS = {
    "NFC": "cr\u00e8me bab\u00e9",
    "NFD": "cre\u0300me babe\u0301",
    "full-width": "\uff21\uff30\uff34\uff21\uff2d\uff29\uff2c",
    "ASCII": "aptamil",
    "emoji": "👶🏽🍼",
    "right-to-left": "\u062d\u0644\u064a\u0628",
    "NUL": "milk\0bottle",
    "1 MB": "奶粉" * 170_000,
    "SQL": "'); drop table stg_action_rows; --",
}
BIRTHS = [
    "2012-02-29",
    "2016-02-29",
    "2015-01-31",
    "2015-08-30",
    "2016-11-30",
    "2016-12-31",
    "2017-01-01",
    "2013-11-01",
]
CSV = [
    "item_id,action,occurred_at,user_id,action_id,colour,search_term",
    "i0,click,2016-11-09 10:00:00,csv,c1,red,",
    ',search,2016-11-09 11:00:00,csv,c2,red,"two',
    'lines, ""quoted"""',
]
COLUMNS = ["action_id", "user_id", "occurred_at", "action", "item_id", "search_term"]


def write_actions(shop: Shop, items: list[str]) -> None:
    """Write clicks and searches of every user, with an unknown item and a category unknown to the model."""
    clicks = [(f"click {n}", user, "2016-11-05 10:00:00", "click", "i0", None) for n, user in enumerate(USERS)]
    searches = [
        (f"search {n}", name, "2016-11-06 10:00:00", "search", None, term)
        for n, (name, term) in enumerate(TERMS.items())
    ]
    strangers = [("s1", "met an unknown item", "2016-11-07 09:00:00", "click", "no such item", None)]
    strangers += [("s2", "met an unknown category", "2016-11-07 09:00:00", "click", "i1", None)]
    last_day = [("z", "last", "2016-11-30 23:59:59", "click", "i0", None)]
    september = [("a", "first", "2016-09-15 10:00:00", "click", "i0", None)]
    folder = shop.source / "actions"
    folder.mkdir()
    rows = pd.DataFrame([*clicks, *searches, *strangers, *last_day, *september], columns=COLUMNS)
    rows.to_parquet(folder / "rows.parquet")
    (folder / "no_rows.csv").write_text(",".join(COLUMNS) + "\n")
    (folder / "month=2016-10").mkdir()
    rows[:0].to_parquet(folder / "month=2016-10" / "no_rows.parquet")
    (folder / "windows.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(CSV).encode() + b"\r\n")
    other_types = {
        "action_id": [1, 2],
        "user_id": [7, 7],
        "item_id": [1.0, 2.0],
        "action": ["click"] * 2,
        "extra": [1, 2],
    }
    times = pd.to_datetime(["2016-11-08 23:30:00-02:00", "2016-11-08 23:30:00+05:00"], utc=True)
    pd.DataFrame(other_types).assign(occurred_at=times).to_parquet(folder / "other_types.parquet")


@pytest.fixture(scope="module")
def odd(base, tmp_path_factory):
    """The shop of that delivery, with the model of the base; built once, never changed."""

    def make(folder: Path) -> None:
        shop = make_shop(folder, like=base)
        shop.source.mkdir()
        items = pd.DataFrame({"item_id": ["i0", "i1"], "leaf_category": [None, "a new category"], "title": ["", "新"]})
        items.to_parquet(shop.source / "items.parquet")
        children = pd.DataFrame(
            {"user_id": [f"born {birth}" for birth in BIRTHS], "child_no": "1", "birth_date": BIRTHS}
        )
        twins = [
            ("twins with numbers", "1"),
            ("twins with numbers", "2"),
            ("twins without", None),
            ("twins without", None),
        ]
        children = pd.concat(
            [children, pd.DataFrame(twins, columns=["user_id", "child_no"]).assign(birth_date="2015-05-05")]
        )
        children.assign(registered_at="2016-11-15").to_csv(shop.source / "children.csv", index=False)
        write_actions(shop, list(items["item_id"]))
        pin_model(shop, of=base)
        shop.build(only="+stage_log_likelihoods +search_words +stage_labels")

    return Shop(made_once(tmp_path_factory, "odd", make))


@pytest.mark.fault(
    "Text", "user ids: any script, emoji, right-to-left, quotes, 2,000 letters", "kept unchanged, none lost"
)
def test_user_ids_of_any_kind_are_kept_unchanged(odd):
    """Two spellings of an accent are two ids: no users are merged."""
    found = {user for (user,) in odd.query("select user_id from stg_actions where action_id like 'click %'")}
    assert found == set(USERS)
    with_log_likelihood = {user for (user,) in odd.query("select user_id from stage_log_likelihoods")}
    assert set(USERS) < with_log_likelihood
    observe(f"{len(USERS)} of {len(USERS)} ids unchanged in the log-likelihoods")


@pytest.mark.fault(
    "Text",
    "search terms: NFC, NFD, full-width, emoji, right-to-left, NUL, 1 MB, SQL",
    "rows kept, accents and widths normalised",
)
def test_search_terms_of_any_kind_are_kept_and_read(odd):
    kept = dict(odd.query("select user_id, search_term from stg_actions where action_id like 'search %'"))
    assert kept == TERMS
    words = {
        name: {w for (w,) in odd.query(f"select word from search_words where search_term = {quoted(term)}")}
        for name, term in TERMS.items()
    }
    assert words["NFC"] == words["NFD"] == {"cr\u00e8me", "bab\u00e9"}
    assert words["full-width"] == words["ASCII"] == {"aptamil"}
    assert words["emoji"] == {None} and words["right-to-left"] == {TERMS["right-to-left"]}
    assert words["1 MB"] == {"奶粉", "粉奶"} and "milk" in words["NUL"]
    observe(f"{len(kept)} of {len(TERMS)} terms kept, words as expected")


def quoted(text: str) -> str:
    """SQL for a text, also for one with a NUL."""
    return " || chr(0) || ".join("'" + part.replace("'", "''") + "'" for part in text.split("\0"))


@pytest.mark.fault("Rows", "items or categories unknown to the model", "row kept, counts as activity only")
def test_features_unknown_to_the_model_contribute_nothing(odd):
    """Their log-likelihood is the intercept, as for a user whose item has no category."""
    log_likelihood = odd.frame("stage_log_likelihoods").set_index("user_id")
    columns = [column for column in log_likelihood if column.startswith("ll_")]
    unknown = log_likelihood.loc[["met an unknown item", "met an unknown category"], columns]
    assert np.isfinite(log_likelihood[columns].to_numpy()).all()
    np.testing.assert_array_equal(unknown.iloc[0], unknown.iloc[1])
    observe("log-likelihoods of both users: the intercepts")


@pytest.mark.fault(
    "Files and columns",
    "extra or reordered columns, other id and time types, BOM, CRLF, quoted line breaks, no rows",
    "read; extra columns ignored",
)
def test_files_of_any_form_are_read(odd):
    rows = odd.query(
        "select user_id, item_id, search_term from stg_actions where action_id in ('c1', 'c2') order by action_id"
    )
    assert rows == [("csv", "i0", None), ("csv", None, 'two\r\nlines, "quoted"')]
    typed = "select action_id, user_id, item_id, occurred_at::varchar from stg_actions where user_id = '7'"
    assert odd.query(f"{typed} order by action_id") == [
        ("1", "7", "1", "2016-11-09 01:30:00"),
        ("2", "7", "2", "2016-11-08 18:30:00"),
    ]
    ((n_rejected,),) = odd.query("select sum(n_rejected) from month_calendar")
    assert n_rejected == 0
    observe("no row rejected")


@pytest.mark.fault("Months and runs", "empty month", "month without actions, status `missing`")
def test_an_empty_month_is_reported_and_counts_as_inactive(odd):
    calendar = odd.query("select strftime(month, '%Y-%m'), status, is_closed from month_calendar order by month")
    assert calendar == [("2016-09", "present", True), ("2016-10", "missing", True), ("2016-11", "present", True)]
    observe("2016-10: missing, closed")


@pytest.mark.fault("Registrations", "births on leap days and at month ends", "aged by calendar months, none rejected")
def test_children_born_at_the_end_of_a_month_are_aged_by_calendar_months(odd):
    found = odd.query("select user_id, month, age_months from stage_labels where user_id like 'born %'")
    assert {user for user, _, _ in found} == {f"born {birth}" for birth in BIRTHS}
    for user, month, age in found:
        birth = date.fromisoformat(user.removeprefix("born "))
        assert age == 12 * (month.year - birth.year) + month.month - birth.month, (user, month)
    observe(f"{len(found)} ages of {len(BIRTHS)} children equal the manual count")


@pytest.mark.fault("Registrations", "twins", "two children if numbered, else one")
def test_twins_are_two_children_when_they_are_numbered(odd):
    twins = "select user_id, count(*) from stg_children where user_id like 'twins%' group by user_id order by user_id"
    assert odd.query(twins) == [("twins with numbers", 2), ("twins without", 1)]
