"""Deliveries with mostly invalid rows: the run fails before staging; single invalid rows are rejected."""

import pytest
from project import assert_same, assert_stops
from reliability import observe

FEBRUARY = "actions/month=2017-02/part-0000.parquet"


def write_over(shop, path, change):
    """Replace a file of the source by its rows, changed."""
    file = (shop.source / path).rename(shop.folder / "delivered.parquet")
    shop.write(path, f"select * replace ({change}) from '{file}'")


@pytest.mark.parametrize(
    ("path", "change", "fact"),
    [
        pytest.param(
            FEBRUARY,
            "case when hash(action_id) % 10 < 7 then null else user_id end as user_id",
            "actions in 2017-02",
            marks=pytest.mark.fault(
                "Rows", "most actions of a month, items or children invalid", "LS-SRC-007, no change"
            ),
        ),
        pytest.param(
            "children.parquet",
            "birth_date + interval 100 year as birth_date",
            "children would be rejected",
            marks=[
                pytest.mark.fault(
                    "Rows", "most actions of a month, items or children invalid", "LS-SRC-007, no change"
                ),
                pytest.mark.slow,
            ],
        ),
        pytest.param(
            "items.parquet",
            "null as item_id",
            "items would be rejected",
            marks=[
                pytest.mark.fault(
                    "Rows", "most actions of a month, items or children invalid", "LS-SRC-007, no change"
                ),
                pytest.mark.slow,
            ],
        ),
    ],
)
def test_a_mostly_broken_delivery_stops_the_run(shop, path, change, fact):
    write_over(shop, path, change)
    assert_stops(shop, "LS-SRC-007", fact, "rejections_max_share is 0.5", "nothing was changed")


@pytest.mark.fault("Rows", "accepted high rejection share", "staged months not checked again")
def test_the_rejected_share_is_checked_for_new_deliveries_only(shop):
    write_over(shop, FEBRUARY, "case when hash(action_id) % 10 < 7 then null else user_id end as user_id")
    shop.build(only="+source_file_months", rejections_max_share=0.8, rejections_on_shift="warn")
    shop.build(only="+source_file_months")
    ((share,),) = shop.query("select sum(n_rejected) / sum(n_rows) from source_file_months where month = '2017-02-01'")
    assert 0.6 < share < 0.8
    observe("70 % rejected, accepted once with `rejections_max_share` = 0.8")


@pytest.mark.fault(
    "Rows",
    "damaged `action_synonyms.csv`",
    "LS-SRC-007 before validation; nothing to redo after the fix",
)
@pytest.mark.slow
def test_a_dictionary_without_clicks_stops_the_run(base, shop):
    """Clicks are nine in ten actions: if they were unknown, most log-likelihoods would be lost."""
    dictionary = shop.folder / "seeds" / "action_synonyms.csv"
    words = dictionary.read_text()
    dictionary.write_text("".join(line for line in words.splitlines(keepends=True) if ",click," not in line))
    finished = shop.start(only="+stage_log_likelihoods")
    assert finished.exit_code != 0 and "LS-SRC-007" in finished.output and "actions are unknown" in finished.output
    dictionary.write_text(words)
    shop.build(only="+birth_month_filter")
    assert_same(shop, base, ["stg_action_rows", "month_calendar", "build_log", "birth_month_filter"], ignore=())
