"""A delivery most of which would be set aside stops the run before anything is staged; a bad row does not."""

import pytest
from project import assert_stops

FEBRUARY = "actions/month=2017-02/part-0000.parquet"


def write_over(shop, path, change):
    """Replace a file of the source by its rows, changed."""
    file = (shop.source / path).rename(shop.folder / "delivered.parquet")
    shop.write(path, f"select * replace ({change}) from '{file}'")


@pytest.mark.fault("Rows", "most rows of a month broken", "stops with LS-SRC-007, nothing changed")
@pytest.mark.fault("Rows", "most children or items broken", "stops with LS-SRC-007, nothing changed")
@pytest.mark.parametrize(
    ("path", "change", "fact"),
    [
        (FEBRUARY, "case when hash(action_id) % 10 < 7 then null else user_id end as user_id", "actions in 2017-02"),
        ("children.parquet", "birth_date + interval 100 year as birth_date", "children would be set aside"),
        ("items.parquet", "null as item_id", "items would be set aside"),
    ],
)
def test_a_delivery_most_of_which_is_broken_stops_the_run(shop, path, change, fact):
    write_over(shop, path, change)
    assert_stops(shop, "LS-SRC-007", fact, "max_rejected_share is 0.5", "nothing was changed")
