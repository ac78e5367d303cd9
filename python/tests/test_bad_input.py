"""Validation of source rows: invalid ones are rejected with every reason, valid ones kept once, none lost."""

import csv
import os
import random
import re
from collections import Counter
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from project import PROJECT, make_shop
from reliability import observe

LEFT = {"no_consent", "user_erased", "left_source"}  # tested in test_erasure.py and test_deliveries.py

# reasons, action_id, user_id, occurred_at, action, item_id, search_term, quantity
ACTIONS = [
    ("", "a1", "u1", "2016-11-05 10:00:00", "click", "1", "", ""),
    ("", "a2", "u1", "2016-11-05", "search", "", "milk", ""),
    ("", "a3", "u1", "2016-11-05 10:00:00", "search", "9", "milk", "x"),
    ("", "a4", "u1", "2016-11-05 10:00:00", "purchase", "1", "", ""),
    ("", "a5", "u1", "2016-11-05 10:00:00", "purchase", "1", "", "1000"),
    ("", "a6", "u1", "2016-11-05 10:00:00", "click", "1", "", "-5"),
    ("", " a7 ", " u1 ", "2016-11-05T23:30:00+08:00", " Add_To_Cart ", " 1 ", "", ""),
    ("", "a8", "u1", "2016-11-05 10:00:00Z", "PV", "1", "", ""),
    ("", "a9", "u1", "2016-10-31 23:00:00-02:00", "fav", "1", "", ""),
    ("", "a10", "u1", "2014-11-01 00:00:00", "order", "1", "", "2"),
    ("action_id_missing", "", "u2", "2016-11-05 10:00:00", "click", "1", "", ""),
    ("action_id_missing", "  ", "u2", "2016-11-05 10:00:00", "click", "1", "", ""),
    ("user_missing", "b1", "", "2016-11-05 10:00:00", "click", "1", "", ""),
    ("time_unreadable", "b2", "u2", "", "click", "1", "", ""),
    ("time_unreadable", "b3", "u2", "2016-02-30 10:00:00", "click", "1", "", ""),
    ("time_unreadable", "b4", "u2", "1478", "click", "1", "", ""),
    ("time_unreadable", "b5", "u2", "yesterday", "click", "1", "", ""),
    ("time_before_2000", "b6", "u2", "1970-01-01 00:00:00", "click", "1", "", ""),
    ("time_before_2000", "b7", "u2", "1999-12-31 23:59:59", "click", "1", "", ""),
    ("time_before_history", "b18", "u2", "2014-10-31 23:59:59", "click", "1", "", ""),
    ("action_ignored", "b19", "u2", "2016-11-05 10:00:00", "Remove-From Cart", "", "", ""),
    ("time_in_future", "b8", "u2", "2099-01-01 00:00:00", "click", "1", "", ""),
    ("action_unknown", "b9", "u2", "2016-11-05 10:00:00", "", "1", "", ""),
    ("action_unknown", "b10", "u2", "2016-11-05 10:00:00", "dance", "", "", "-1"),
    ("search_without_term", "b11", "u2", "2016-11-05 10:00:00", "query", "1", " ", ""),
    ("item_missing", "b12", "u2", "2016-11-05 10:00:00", "collect", "", "milk", ""),
    ("quantity_absurd", "b13", "u2", "2016-11-05 10:00:00", "buy", "1", "", "0"),
    ("quantity_absurd", "b14", "u2", "2016-11-05 10:00:00", "buy", "1", "", "1001"),
    ("quantity_absurd", "b15", "u2", "2016-11-05 10:00:00", "buy", "1", "", "two"),
    ("quantity_absurd", "b16", "u2", "2016-11-05 10:00:00", "buy", "1", "", "nan"),
    ("user_missing time_unreadable action_unknown", "b17", "", "never", "jump", "", "", ""),
    (
        "action_id_missing user_missing time_in_future item_missing quantity_absurd",
        "",
        "",
        "2098-01-01",
        "buy",
        "",
        "",
        "inf",
    ),
    # Validation precedes deduplication, so an invalid row never replaces a valid one.
    ("user_missing", "d1", "", "2016-11-01 00:00:00", "click", "1", "", ""),
    ("", "d1", "u3", "2016-11-06 10:00:00", "click", "1", "", ""),
    ("", "d1", "u3", "2016-11-05 10:00:00", "click", "2", "", ""),
    ("", "d1", "u3", "2016-12-05 10:00:00", "click", "3", "", ""),
    ("", "d2", "u3", "2016-12-06 10:00:00", "click", "3", "", ""),
    ("", "d2", "u3", "2016-11-06 10:00:00", "click", "3", "", ""),
    ("", "d2", "u3", "2016-11-05 10:00:00", "click", "3", "", ""),
]
VALUES = {
    "action_id": ["x", "x", ""],
    "user_id": ["u4", "u4", " "],
    "occurred_at": [
        "2016-11-07 08:00:00",
        "2016-12-07 08:00:00",
        "2016-11-08T08:00:00-03:00",
        "no",
        "1969-05-05",
        "2100-05-05",
    ],
    "action": ["search", "browse", "WISHLIST", "cart ", "transaction", "gaze"],
    "item_id": ["1", ""],
    "search_term": ["milk", ""],
    "quantity": ["1", "999", "0", "5000", "many", ""],
}
# What the rows give as price, in turn, and the price that is read.
PRICES = [("", None), ("19.9", 19.9), (" 3,5 ", 3.5), ("0", 0), ("1e6", 1e6), ("-0.01", None), ("nan", None)]
PRICES += [("-inf", None), ("1e400", None), ("2e12", None), ("free", None)]
# reason, user_id, child_no, birth_date, registered_at; "repeated" is no reason
CHILDREN = [
    ("", "c1", "1", "2016-01-31", "2016-02-01 00:00:00"),
    ("", "c2", "", "2016-12-01", "2016-02-01 00:00:00"),
    ("user_missing", "", "1", "2016-01-31", "2016-02-01 00:00:00"),
    ("birth_date_unreadable", "c3", "1", "", "2016-02-01 00:00:00"),
    ("birth_date_unreadable", "c3", "2", "soon", "2016-02-01 00:00:00"),
    ("birth_too_far_ahead", "c4", "1", "2016-12-02", "2016-02-01 00:00:00"),
    ("birth_too_long_ago", "c5", "1", "1996-01-31", "2016-02-01 00:00:00"),
    ("superseded", "c6", "1", "2016-01-01", "2016-02-01 00:00:00"),
    ("", "c6", "1", "2016-01-02", "2016-03-01 00:00:00"),
    ("repeated", "c7", "1", "2016-01-02", "2016-03-01 00:00:00"),
    ("", "c7", "1", "2016-01-02", "2016-04-01 00:00:00"),
    ("children_too_close", "c8", "1", "2015-01-02", "2016-04-01 00:00:00"),
    ("children_too_close", "c8", "2", "2015-05-02", "2016-04-01 00:00:00"),
    ("children_too_close", "c8", "3", "2015-09-02", "2016-04-01 00:00:00"),
]
ITEMS = [("", "1", "A"), ("", "2", "B"), ("superseded", "2", "C"), ("item_missing", "", "A")]


def parsed_time(text):
    """An ISO time in UTC; None if it is invalid."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def action_named(text):
    """The action of a word in the dictionary; None if it has none."""
    with (PROJECT / "seeds" / "action_synonyms.csv").open(newline="") as file:
        words = {row["word"]: row["action"] for row in csv.DictReader(file) if not row["log"]}
    return words.get(re.sub("[ -]", "_", text.strip().lower()))


def describe_triggers(action_id, user_id, occurred_at, action, item_id, search_term, quantity):
    """An independent implementation of the validation rules, row by row."""
    time, action = parsed_time(occurred_at), action_named(action)
    if action == "ignored":
        return "action_ignored"
    try:
        is_absurd = quantity != "" and not 1 <= float(quantity) <= 1000
    except ValueError:
        is_absurd = True
    is_deserved = {
        "action_id_missing": not action_id.strip(),
        "user_missing": not user_id.strip(),
        "time_unreadable": time is None,
        "time_before_2000": time is not None and time.year < 2000,
        "time_before_history": time is not None
        and datetime(2000, 1, 1, tzinfo=UTC) <= time < datetime(2014, 11, 1, tzinfo=UTC),
        "time_in_future": time is not None and time > datetime.now(UTC),
        "action_unknown": action is None,
        "search_without_term": action == "search" and not search_term.strip(),
        "item_missing": action not in (None, "search") and not item_id.strip(),
        "quantity_absurd": action == "purchase" and is_absurd,
    }
    return " ".join(reason for reason, deserved in is_deserved.items() if deserved)


def random_actions(n):
    dice = random.Random(7)
    rows = dice.sample(list(product(*VALUES.values())), n)
    return [(f"{row[0]}{number}" if row[0] else "", *row[1:]) for number, row in enumerate(rows)]


def write_csv(file, columns, rows):
    with file.open("w", newline="") as output:
        csv.writer(output).writerows([columns, *rows])


@pytest.fixture(scope="module")
def evaluated(base, tmp_path_factory):
    """A shop with mostly invalid rows; the session of an action is its row number."""
    shop = make_shop(tmp_path_factory.mktemp("evaluated") / "shop", like=base)
    folder = shop.source / "actions" / "month=2016-11"
    folder.mkdir(parents=True)
    actions = [*(row[1:] for row in ACTIONS), *random_actions(400)]
    rows = [(*row, number, PRICES[number % len(PRICES)][0]) for number, row in enumerate(actions)]
    write_csv(folder / "rows.csv", [*VALUES, "session_id", "price"], rows)
    write_csv(
        shop.source / "children.csv",
        ["user_id", "child_no", "birth_date", "registered_at"],
        [row[1:] for row in CHILDREN],
    )
    write_csv(shop.source / "items.csv", ["item_id", "leaf_category"], [row[1:] for row in ITEMS])
    shop.build(rejections_max_share=1)
    return shop


@pytest.mark.fault(
    "Rows",
    "invalid times, ids, action names, items, search terms, quantities",
    "rejected with every reason",
)
def test_every_action_gets_exactly_its_rejection_reasons(evaluated):
    expected = [row[0] for row in ACTIONS] + [describe_triggers(*row) for row in random_actions(400)]
    assert [describe_triggers(*row[1:]) for row in ACTIONS] == expected[: len(ACTIONS)]
    found = dict(evaluated.query("select session_id::integer, coalesce(reasons, '') from stg_action_rows"))
    assert {
        n: (reasons, found[n]) for n, reasons in enumerate(expected) if set(found[n].split()) != set(reasons.split())
    } == {}
    assert len(found) == len(expected)
    # One row per reason in the quarantine, and no reason of the seed without a row here.
    each = Counter(reason for reasons in expected for reason in reasons.split())
    assert dict(evaluated.query("select reason, count(*) from stg_rejected_actions group by reason")) == each
    observe("rejected: " + ", ".join(f"{each[reason]} {reason}" for reason in sorted(each)))
    assert (
        set(each)
        == {r for (r,) in evaluated.query("select reason from rejection_reasons where table_name = 'actions'")} - LEFT
    )


def test_valid_rows_have_utc_times_and_standard_action_names(evaluated):
    found = evaluated.query(
        "select action_id, user_id, occurred_at::varchar, action, item_id, search_term, quantity "
        "from stg_actions where user_id = 'u1'"
    )
    by_id = {row[0]: row[1:] for row in found}
    assert by_id["a7"] == ("u1", "2016-11-05 15:30:00", "cart", "1", None, None)
    assert by_id["a3"] == ("u1", "2016-11-05 10:00:00", "search", None, "milk", None)
    assert by_id["a5"] == ("u1", "2016-11-05 10:00:00", "purchase", "1", None, 1000)
    assert by_id["a6"] == ("u1", "2016-11-05 10:00:00", "click", "1", None, None)
    assert by_id["a9"] == ("u1", "2016-11-01 01:00:00", "collect", "1", None, None)
    assert [by_id[name][2] for name in ("a1", "a2", "a8", "a10")] == ["click", "search", "click", "purchase"]
    assert len(by_id) == sum(row[0] == "" and row[2].strip() == "u1" for row in ACTIONS)


@pytest.mark.fault("Rows", "negative, infinite or unreadable prices", "null, counted as unreadable")
def test_a_price_is_null_and_counted_if_it_is_no_amount(evaluated):
    found = evaluated.query("select session_id::integer, price from stg_action_rows")
    assert {number: price for number, price in found if price != PRICES[number % len(PRICES)][1]} == {}
    counts = "select sum(n_rows) from source_row_counts where list_contains(split(readings, ' '), '{}price')"
    given = [PRICES[number % len(PRICES)] for number, _ in found]
    assert evaluated.query(counts.format("+")) == [(sum(price is not None for _, price in given),)]
    assert evaluated.query(counts.format("-")) == [(sum(text != "" and price is None for text, price in given),)]
    assert evaluated.query("select count(*), count(price) from stg_items") == [(2, 0)], "items have no such column"


@pytest.mark.fault(
    "Rows",
    "duplicate `action_id`",
    "earliest row of the same action kept, in this and the next two months; others counted",
)
def test_the_earliest_row_of_an_action_is_kept(evaluated):
    """An id of several actions, such as that of an order with several items, deletes none of them."""
    rows = (
        "select strftime(month, '%Y-%m'), item_id, day(acted_on) from stg_actions where action_id = '{}' order by all"
    )
    assert evaluated.query(rows.format("d1")) == [("2016-11", "1", 6), ("2016-11", "2", 5), ("2016-12", "3", 5)]
    assert evaluated.query(rows.format("d2")) == [("2016-11", "3", 5)]
    counts = "select count(*) filter (is_duplicate), count(*) filter (is_conflicting) from stg_action_rows"
    assert evaluated.query(f"{counts} where action_id in ('d1', 'd2') and reasons is null") == [(2, 6)]
    assert evaluated.query("select sum(n_conflicting) from action_months") == [(6,)]


@pytest.mark.fault(
    "Registrations",
    "unreadable, too early, too late or conflicting birthdays, missing users, unborn children",
    "rejected with a reason; newest registration and births up to 10 months ahead kept",
)
@pytest.mark.fault("Rows", "several or no rows for an item", "one kept, others rejected")
def test_every_child_and_item_gets_its_rejection_reason(evaluated):
    found = evaluated.query("select table_name, coalesce(id, ''), reason from stg_rejected_registrations")
    bad = [("children", row[1], row[0]) for row in CHILDREN if row[0] not in ("", "repeated")]
    assert Counter(found) == Counter(bad + [("items", row[1], row[0]) for row in ITEMS if row[0]])
    observe("rejected: " + ", ".join(sorted({reason for *_, reason in found})))
    kept = evaluated.query(
        "select user_id, child_no::varchar, birth_date::varchar, registered_at::varchar from stg_children"
    )
    assert sorted(kept) == sorted((row[1], row[2] or "1", *row[3:]) for row in CHILDREN if row[0] == "")
    assert sorted(evaluated.query("select item_id, leaf_category from stg_items")) == [("1", "A"), ("2", "B")]
    deserved = {row[0] for row in [*CHILDREN, *ITEMS]} - {"", "repeated"}
    reasons = {
        reason for (reason,) in evaluated.query("select reason from rejection_reasons where table_name <> 'actions'")
    }
    assert reasons - LEFT == deserved


@pytest.mark.fault(
    "Rows", "simulated delivery with 1 % invalid rows", "valid, rejected and duplicate rows add up in every month"
)
def test_raw_rows_of_a_month_are_valid_rejected_or_duplicate(base):
    raw = pd.concat(
        [pd.read_parquet(file).assign(folder=file.parent.name[-7:]) for file in base.source.glob("actions/*/*.parquet")]
    )
    words = {word: action_named(word) for word in raw.action.dropna().unique()}
    action, quantity = raw.action.map(words), pd.to_numeric(raw.quantity)
    usable = raw.occurred_at.between("2000-01-01", "2026-01-01")
    raw["month"] = raw.occurred_at.dt.strftime("%Y-%m").where(usable, raw.folder)
    raw["is_good"] = usable & raw.action_id.notna() & raw.user_id.notna() & action.notna()
    raw["is_good"] &= ~((action == "search") & raw.search_term.isna()) & ~((action != "search") & raw.item_id.isna())
    raw["is_good"] &= ~((action == "purchase") & quantity.notna() & ~quantity.between(1, 1000))
    expected = [
        (
            month,
            len(rows),
            (good := rows[rows.is_good]).action_id.nunique(),
            (~rows.is_good).sum(),
            good.action_id.duplicated().sum(),
        )
        for month, rows in raw.groupby("month")
    ]
    assert sum(row[3] for row in expected) > 20
    assert sum(row[4] for row in expected) > 0
    assert (
        base.query(
            "select strftime(month, '%Y-%m'), n_rows, n_actions, n_rejected, n_duplicates "
            "from month_calendar order by month"
        )
        == expected
    )


@pytest.mark.parametrize("folder", ["baby-purchases", "mobile-actions-sample"])
def test_real_data_is_read_to_the_end(base, tmp_path, folder):
    if "LIFE_STAGE_REAL_DATA" not in os.environ:
        pytest.skip("LIFE_STAGE_REAL_DATA names no folder with baby-purchases/ and mobile-actions-sample/")
    shop = make_shop(tmp_path / "shop", like=base)
    shop.source.symlink_to((Path(os.environ["LIFE_STAGE_REAL_DATA"]) / folder).resolve())
    mapped = shop.run("life-stage", "map", "source")
    assert mapped.exit_code == 0, mapped.output
    shop.build()
    ((n_rows, n_actions),) = shop.query("select sum(n_rows), sum(n_actions) from month_calendar")
    assert n_actions > 0.9 * n_rows > 1000
