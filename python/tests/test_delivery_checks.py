"""Checks of a delivery, by counts of its rows: limits of shares, the check that is reported, months unlike others."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from life_stage.engine.delivery_checks import (
    COLUMNS,
    IDS,
    Rows,
    checks_of_shares,
    failed_delivery,
    failed_fit,
    failed_ids,
    is_too_much,
)
from life_stage.engine.project_macros import source_contract

REMEDIES = {"item_missing": "give each item its id"}
MONTHS = [date(2016, month, 1) for month in range(1, 10)]


@pytest.mark.parametrize("table", IDS)
def test_the_columns_that_are_checked_are_in_the_contract(table):
    contract = {column["name"]: column["meta"].get("kind") for column in source_contract(table)}
    assert [name for name, kind in contract.items() if kind == "id"] == list(IDS[table])
    assert set(COLUMNS[table]) < set(contract)


@pytest.mark.parametrize(
    ("n_found", "n_rows", "max_share", "part", "is_wrong"),
    [
        (51, 100, 0.5, 1, True),
        (50, 100, 0.5, 1, False),
        (99, 99, 0.5, 1, False),  # too few rows
        (19, 100, 0.1, 1, False),  # too few of them
        (20, 100, 0.5, 0.1, True),
        (100, 100, 1, 0.1, False),  # everything is allowed
    ],
)
def test_a_share_is_too_much_beyond_its_limit_and_from_100_rows(n_found, n_rows, max_share, part, is_wrong):
    assert is_too_much(n_found, n_rows, max_share, part) == is_wrong


def test_the_gravest_check_is_reported_with_the_number_of_others():
    """Lost digits come before any number of rejected rows, which name their commonest reason and its remedy."""
    rejected = [(300, "item_missing", "-price", None, None), (100, None, "+price", None, None)]
    (message,) = failed_delivery("items", rejected, REMEDIES, 0.5)
    assert message.startswith(
        "LS-SRC-007 300 of 400 items in items would be rejected, most often as item_missing: give"
    )
    assert message.endswith("rejections_max_share is 0.5; 1 more checks failed")
    (message,) = failed_delivery("items", [*rejected, (1, None, "-item_id", None, None)], REMEDIES, 0.5)
    assert message.startswith("LS-SRC-009 1 values of items.item_id lost digits") and message.endswith(
        "; 2 more checks failed"
    )
    assert failed_delivery("items", rejected[1:], REMEDIES, 0.5) == []


def test_a_share_unlike_the_months_around_fails_only_where_it_shall():
    counts = [(1000, None, None, None, month, "a", "click", None, "1970-01-01") for month in MONTHS[:-1]]
    counts += [(900, None, None, None, month, "a", "cart", None, "1970-01-01") for month in MONTHS[:-1]]
    counts.append((1000, None, None, None, MONTHS[-1], "b", "click", None, "1970-01-02"))
    (message,) = failed_delivery("actions", counts, REMEDIES, 0.5)
    assert message.startswith("LS-SRC-010 0 of 1000 rows in 2016-09 have the action cart, 474 are expected")
    assert failed_delivery("actions", counts, REMEDIES, 0.5, shifts_fail=False) == []


def test_expected_shares_are_medians_of_the_months_around():
    """Against pandas, on random counts of two actions, with a month missing."""
    random = np.random.default_rng(1)
    rows = [
        Rows(int(random.integers(1, 500)), None, None, month=month, action=action, is_new=month >= MONTHS[6])
        for month in MONTHS
        for action in ("click", "cart")
        if month != MONTHS[3]
    ]
    counts = pd.DataFrame(rows).pivot_table(index="month", columns="action", values="n", aggfunc="sum")
    shares = counts.div(counts.sum(axis=1), axis=0)
    found = {(check.month, check.value): check for check in checks_of_shares(rows)}
    assert len(found) == 6
    for (month, action), check in found.items():
        near = [other for other in shares.index if other != month and abs(other.month - month.month) <= 6]
        expected = counts.sum(axis=1)[month] * shares.loc[near, action].median()
        assert check.n_expected == pytest.approx(expected, abs=1e-9) and check.n_found == counts.loc[month, action]
        assert check.is_wrong == (
            not expected / 3 <= check.n_found <= 3 * expected if expected >= 20 else check.n_found > 60
        )


def test_ids_that_other_actions_have_too_stop_a_month_beyond_the_limit():
    (message,) = failed_ids(MONTHS[0], 200, 101, 0.5)
    assert message.startswith("LS-SRC-007 101 of 200 rows in 2016-01 share their action_id with another action")
    assert failed_ids(MONTHS[0], 100, 3, 0.02) and not failed_ids(MONTHS[0], 100, 2, 0.02)
    assert (
        failed_ids(MONTHS[0], 200, 100, 0.5) == failed_ids(MONTHS[0], 99, 99, 0.5) == failed_ids(None, 0, 0, 0.5) == []
    )


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (
            ("actions on items of the catalogue", MONTHS[1], 100, 19, None),
            "19 of 100 actions on items of the catalogue in",
        ),
        (("actions on items of the catalogue", MONTHS[1], 100, 20, None), None),
        (("actions on items of the catalogue", MONTHS[1], 19, 0, None), None),  # too few
        (
            ("actions on items of the catalogue", MONTHS[1], 100, 39, 0.8),
            "39 of 100 actions on items of the catalogue in",
        ),
        (("actions on items of the catalogue", MONTHS[1], 100, 40, 0.8), None),
        (("users seen before", MONTHS[1], 100, 0, 0.1), None),  # 10 expected
        (("users seen before", MONTHS[1], 200, 9, 0.1), "9 of 200 users seen before in 2016-02:"),
        (
            ("registered users with an action", date(1970, 1, 1), 50, 5, None),
            "5 of 50 registered users with an action:",
        ),
    ],
)
def test_tables_fit_unless_a_share_is_low_or_falls_by_half(share, message):
    found = failed_fit([share], 0.2)
    assert found == [] if message is None else found[0].startswith(f"LS-SRC-011 {message}")


def test_of_tables_that_do_not_fit_the_newest_month_is_reported():
    wrong = [("users seen before", MONTHS[3], 200, 9, 0.1)]
    wrong += [("actions on items of the catalogue", month, 100, 5, None) for month in (MONTHS[2], MONTHS[1])]
    assert failed_fit(wrong, 0.2)[0].startswith("LS-SRC-011 5 of 100 actions on items of the catalogue in 2016-03:")
