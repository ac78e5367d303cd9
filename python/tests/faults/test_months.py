"""Months at the edges: before all others, and at the end of the day in the business time zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from project import assert_same
from reliability import observe

POSTERIORS = ["stage_log_likelihoods", "birth_month_filter", "dynamic_fusion"]


@pytest.mark.fault("Months and runs", "backfill of a month before all others", "posteriors of a single run")
@pytest.mark.slow
def test_a_month_before_all_others_is_added(base, new_shop):
    new_shop.add_months(base, ["2016-08", "2016-09"])
    new_shop.build(only="+birth_month_filter +dynamic_fusion")
    before = new_shop.run_of_months("birth_month_filter")
    new_shop.add_months(base, ["2016-07"])
    new_shop.build(only="+birth_month_filter +dynamic_fusion")
    after = new_shop.run_of_months("birth_month_filter")
    assert list(before) == ["2016-08", "2016-09"] and len(after) == 3 and not set(before.values()) & set(after.values())
    assert_same(new_shop, base, POSTERIORS, where="month <= date '2016-09-01'")
    observe("all three months updated again")


@pytest.mark.fault("Months and runs", "month boundary in three time zones", "local calendar months")
@pytest.mark.parametrize("zone", [pytest.param("America/New_York", marks=pytest.mark.slow), "Pacific/Kiritimati"])
def test_months_end_with_the_day_in_the_business_timezone(bare_shop, zone):
    """Every hour of the three days about the ends of two months, one of them the end of daylight saving in New York."""
    ends = [datetime(2016, 10, 31, tzinfo=UTC), datetime(2016, 11, 6, tzinfo=UTC), datetime(2016, 11, 30, tzinfo=UTC)]
    times = [end + timedelta(hours=hour, seconds=-1) for end in ends for hour in range(-24, 49)]
    rows = ", ".join(f"({n}, 1, '{time:%Y-%m-%d %H:%M:%S}', 'search', null, 'milk')" for n, time in enumerate(times))
    names = "action_id, user_id, occurred_at, action, item_id, search_term"
    bare_shop.write("actions/all.csv", f"from (values {rows}) as t({names})")
    bare_shop.build(only="+month_calendar", business_timezone=zone)
    found = dict(
        bare_shop.query("select action_id::integer, (month, acted_on) from stg_action_rows where reasons is null")
    )
    for n, time in enumerate(times):
        there = time.astimezone(ZoneInfo(zone)).date()
        assert found[n] == (there.replace(day=1), there), time
    observe(f"{len(times)} times in the right month and day")
