"""Retention by the vars of group retention: dropped months stay dropped, predictions stay."""

import duckdb
import pytest
from project import POSTERIORS, Shop, assert_same, assert_stops, copy_shop, made_once

pytestmark = pytest.mark.slow
KEPT = {"retention_actions_months": 12, "retention_features_months": 13}  # of 2018-01: both reach into January 2017
LAYERS = {"stg_action_rows", "search_terms", "user_month_features"}
# All tables by month, because a run in part drops nothing.
MONTHLY = "+household_children +dynamic_fusion registered_births user_stage_months path:models/checkout"
SHIFTED = """
    select * replace (action_id || '-{name}' as action_id, occurred_at + interval {shift} as occurred_at)
    from '{source}/actions/month={month}/*.parquet' where strftime(occurred_at, '%Y-%m') = '{month}' and {which}
"""


def deliver(shop: Shop, path: str, month: str, shift: str, which: str = "true") -> None:
    """Deliver a file with the actions of a month, shifted in time."""
    select = SHIFTED.format(name=path[:4], source=shop.source, month=month, shift=shift, which=which)
    file = shop.source / "actions" / path
    duckdb.sql(f"copy ({select}) to '{file}'")


def deliver_late(shop: Shop) -> None:
    """Deliver rows of a stored month and of a dropped one."""
    deliver(shop, "late.parquet", "2017-01", "1 minute", "hash(action_id) % 3 = 0")
    deliver(shop, "aged.parquet", "2016-11", "1 minute", "hash(action_id) % 3 = 0")


@pytest.fixture(scope="module")
def shops(base, tmp_path_factory):
    """Two shops with the same files, one with all months, one that dropped 2016 before late rows arrived."""

    def make_old(folder):
        shop = copy_shop(base, folder)
        deliver(shop, "next.parquet", "2017-01", "12 months")
        shop.build(only=MONTHLY, **KEPT)
        copy_shop(shop, folder / "dropped")
        deliver_late(shop)
        shop.build(only=MONTHLY, **KEPT)

    def make_whole(folder):
        shop = copy_shop(base, folder)
        deliver(shop, "next.parquet", "2017-01", "12 months")
        deliver(shop, "late.parquet", "2017-01", "1 minute", "hash(action_id) % 3 = 0")
        shop.build(only=MONTHLY)

    old = made_once(tmp_path_factory, "old_dropped", make_old)
    return Shop(old), Shop(old / "dropped"), Shop(made_once(tmp_path_factory, "all_kept", make_whole))


def months(shop, table):
    return {str(month)[:7] for (month,) in shop.query(f"select distinct month from {table}")}


def test_old_months_are_dropped_by_calendar_years_for_good(shops):
    late, dropped, _ = shops
    for shop in (dropped, late):
        for table in LAYERS:
            assert min(months(shop, table)) == "2017-01", table
    assert min(months(late, "user_stage_months")) < "2017"
    status = dict(late.query("select strftime(month, '%Y-%m'), status from month_calendar"))
    assert status["2016-11"] == "archived" and status["2017-01"] == "present"


def test_posteriors_of_dropped_months_stay(shops):
    late, dropped, _ = shops
    assert_same(late, dropped, [*POSTERIORS, "birth_month_filter_cells"], where="month < date '2017-01-01'")


def test_late_rows_give_the_posteriors_of_a_full_history(shops):
    late, dropped, whole = shops
    assert late.run_of_months("household_children")["2017-01"] != dropped.run_of_months("household_children")["2017-01"]
    assert late.run_of_months("household_children")["2016-12"] == dropped.run_of_months("household_children")["2016-12"]
    assert_same(late, whole, [*POSTERIORS, "birth_month_filter_cells"], where="month >= date '2017-01-01'")


def test_a_text_searched_for_only_in_dropped_months_is_erased(shops):
    late, _, whole = shops
    sql = "select distinct search_term from {} except select distinct search_term from search_terms"
    assert late.query(sql.format("search_words")) == []
    gone = {term for (term,) in whole.query("select distinct search_term from search_words")}
    assert gone - {term for (term,) in late.query("select distinct search_term from search_words")}


def test_models_are_trained_on_months_with_stored_features(shops):
    late, *_ = shops
    assert min(months(late, "training_rows")) == "2017-01"
    assert late.query("select min(tenure_months) from training_rows where month = date '2018-01-01'")[0][0] > 6


def test_a_var_that_needs_dropped_months_stops_the_run(shops, tmp_path):
    shop = copy_shop(shops[1], tmp_path / "shop")
    assert_stops(shop, "LS-VAR-005", "backfill_from", "2017-01", backfill_from="2016-12")
