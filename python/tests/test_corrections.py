"""Corrections in files, dictionaries or folders of the source: they take effect, and nothing else changes."""

import pytest
from project import POSTERIORS, assert_same


def month_of(shop, month):
    """A query for the valid rows of a month's folder."""
    return f"""
        select * from '{shop.source}/actions/month={month}/*.parquet'
        where year(occurred_at) = {month[:4]} and month(occurred_at) = {int(month[5:])}"""


def february(shop, days_later):
    """A query for the rows of February 2017 as other actions, some days later."""
    (file,) = (shop.source / "actions" / "month=2017-02").iterdir()
    times = f"occurred_at + interval ({days_later}) day as occurred_at"
    return f"select * replace ({days_later}::bigint * 1000000000 - action_id as action_id, {times}) from '{file}'"


def calendar(shop, column):
    return dict(shop.query(f"select strftime(month, '%Y-%m'), {column} from month_calendar"))


@pytest.mark.fault("Months and runs", "month file overwritten by the next month's", "old month kept, status `archived`")
@pytest.mark.slow
def test_a_file_overwritten_by_the_next_month_keeps_the_old_month(base, new_shop):
    july, august = month_of(base, "2016-07"), month_of(base, "2016-08")
    new_shop.write("actions/latest.parquet", july)
    new_shop.build()
    n_july = calendar(new_shop, "n_actions")["2016-07"]
    new_shop.write("actions/latest.parquet", f"{august} union all (from ({july}) order by occurred_at desc limit 3)")
    new_shop.build()
    assert calendar(new_shop, "status") == {"2016-07": "archived", "2016-08": "present"}
    assert calendar(new_shop, "n_actions")["2016-07"] == n_july
    assert_same(new_shop, base, POSTERIORS, where="month <= date '2016-08-01'")


@pytest.mark.fault("Rows", "wrong time, corrected later", "no trace of the wrong time")
@pytest.mark.slow
def test_a_corrected_time_leaves_no_trace_of_the_wrong_one(base, new_shop):
    july = month_of(base, "2016-07")
    wrong = "case when action_id = (select min(action_id) from july) then timestamp '2015-03-10' else occurred_at end"
    new_shop.write("actions/july.csv", f"with july as ({july}) select * replace ({wrong} as occurred_at) from july")
    new_shop.build()
    assert min(calendar(new_shop, "status")) == "2015-03"
    new_shop.write("actions/july.csv", july)
    new_shop.build()
    assert calendar(new_shop, "status") == {"2016-07": "present"}
    monthly = ("stg_actions", "user_months", "search_terms", "user_month_features", *POSTERIORS)
    for table in monthly:
        assert new_shop.query(f"select count(*) from {table} where month < date '2016-07-01'") == [(0,)], table
    assert_same(new_shop, base, POSTERIORS, where="month = date '2016-07-01'")


@pytest.mark.slow
def test_a_new_synonym_counts_for_rejected_rows(base, bare_shop):
    july = month_of(base, "2016-07")
    bare_shop.write(
        "actions/july.csv", f"select * replace (replace(action, 'purchase', 'kaufen') as action) from ({july})"
    )
    bare_shop.build()
    unknown = "select count(*) from stg_action_rows where raw_action = 'kaufen' and reasons = 'action_unknown'"
    ((n_unknown,),) = bare_shop.query(unknown)
    with (bare_shop.folder / "seeds" / "action_synonyms.csv").open("a") as seed:
        seed.write("kaufen,purchase\n")
    bare_shop.build()
    assert n_unknown > 0 and bare_shop.query(unknown) == [(0,)]
    # The one with an absurd quantity stays rejected, for that reason only.
    mended = "select count(*) from stg_action_rows where action = 'purchase' or reasons = 'quantity_absurd'"
    assert bare_shop.query(mended) == [(n_unknown,)]


@pytest.mark.slow
@pytest.mark.fault("Files and columns", "ids written as decimals", "read as the same ids")
def test_ids_written_as_decimals_are_the_same_ids(base, new_shop):
    july = month_of(base, "2016-07")
    decimals = "cast(user_id as double) as user_id, cast(item_id as double) as item_id"
    new_shop.write("actions/july.parquet", f"select * replace ({decimals}) from ({july})")
    new_shop.build()
    assert_same(new_shop, base, ["user_months", "user_month_features"], where="month = date '2016-07-01'")


@pytest.mark.fault(
    "Rows",
    "file without a readable time, `rejections_max_share` = 1",
    "rejected, month's status `unusable`",
)
@pytest.mark.slow
def test_a_file_without_one_readable_time_is_counted_in_the_month_of_its_folder(base, bare_shop):
    bare_shop.add_months(base, ["2016-07", "2016-09"])
    unreadable = "strftime(occurred_at, '%m/%d/%Y %H:%M') as occurred_at"
    bare_shop.write(
        "actions/month=2016-08/all.csv", f"select * replace ({unreadable}) from ({month_of(base, '2016-08')})"
    )
    bare_shop.build(rejections_max_share=1)
    ((n_rows,),) = bare_shop.query("select count(*) from stg_action_rows where month = date '2016-08-01'")
    assert calendar(bare_shop, "status")["2016-08"] == "unusable"
    assert calendar(bare_shop, "n_rejected")["2016-08"] == n_rows > 1000
    assert bare_shop.query("select n_rows_rejected from model_runs")[0][0] > n_rows


def test_an_unfinished_warehouse_keeps_its_time_zone_too(shop):
    shop.change("delete from model_runs")
    refused = shop.start(business_timezone="Asia/Shanghai")
    assert refused.exit_code != 0 and "LS-STA-002" in refused.output


@pytest.mark.fault("Machine", "deleted published file", "published again")
@pytest.mark.slow
def test_a_published_file_that_was_deleted_is_published_again(shop):
    (shop.published / "user_stages.parquet").unlink()
    shop.build()
    assert (shop.published / "user_stages.parquet").exists()


@pytest.mark.slow
def test_past_months_keep_their_model_until_a_backfill(base, shop):
    """A newer model scores no past month by default; backfill_from assigns it the months from there on, once."""
    newer = "model_version || ' newer' as model_version, trained_through + interval 1 month as trained_through"
    shop.change(
        f"""insert into stage_coefficients by name select * replace ({newer},
            case when parameter_type = 'setting' and feature = 'tau' then value / 2 else value end as value)
        from stage_coefficients"""
    )
    shop.build()
    assert_same(shop, base, [*POSTERIORS, "month_model_assignments"], ignore=())
    before = {table: shop.run_of_months(table) for table in POSTERIORS}
    shop.build(backfill_from="2017-01")
    for table in POSTERIORS:
        months = {month for month, run in shop.run_of_months(table).items() if run != before[table][month]}
        assert months == {"2017-01", "2017-02"}, table
        if table != "household_children":
            newer = "select distinct month >= date '2017-01-01', model_version like '%newer' from"
            assert sorted(shop.query(f"{newer} {table}")) == [(False, False), (True, True)]
    assert_same(shop, base, POSTERIORS, where="month < date '2017-01-01'", ignore=())
    backfilled = {table: shop.run_of_months(table) for table in POSTERIORS}
    shop.build()
    assert {table: shop.run_of_months(table) for table in POSTERIORS} == backfilled, "once is enough"


@pytest.mark.fault("Months and runs", "history corrected after a model was trained", "LS-ML-003; rescored by a var")
@pytest.mark.slow
def test_months_scored_by_a_model_of_corrected_months_are_named_and_rescored(base, shop):
    """The models of the base were trained before the correction; months keep them until they are scored again."""
    first_model = base.query("select distinct model_version from month_model_assignments")
    for month in ("2016-07", "2016-08", "2016-09"):
        (old,) = (shop.source / "actions" / f"month={month}").iterdir()
        shop.write(f"actions/month={month}/new.csv", f"select * from '{old}' where hash(user_id) % 10 > 0")
        old.unlink()
    found = (
        "LS-ML-003 models of the months from 2016-07 to 2017-02 were trained before a quarter of their training months"
    )
    later = f"{found} was corrected: once the next model is trained, score them again by var"
    assert later in " ".join(shop.build().output.split())
    shop.write("actions/month=2017-03/new.csv", february(shop, days_later=31))
    trained = shop.build(training_every_months=1)
    assert f"{found} was corrected: var backfill_from scores them again," in " ".join(trained.output.split())
    of_the_base = "select distinct model_version from month_model_assignments where month < date '2017-03-01'"
    assert shop.query(of_the_base) == first_model
    rescored = shop.build(training_rescore_after_corrections=True).output
    newest = shop.query("select max_by(model_version, trained_through) from model_registry")
    assert shop.query("select distinct model_version from month_model_assignments") == newest != first_model
    assert "LS-ML-003" not in rescored and "LS-ML-003" not in shop.build().output


@pytest.mark.fault(
    "Plausible deliveries", "an item that changes its category (K8)", "counted months keep the former one"
)
@pytest.mark.slow
def test_a_month_that_is_counted_again_keeps_the_attributes_its_items_had(base, bare_shop):
    """New attributes are valid from the month in which a run first reads them; one that was missing, for all months.

    A new price is no new attribute: an item has that of now.
    """
    bare_shop.add_months(base, ["2017-01", "2017-02"])

    def build(clock: str) -> None:
        bare_shop.build(only="+user_month_features", run_clock=f"{clock} 00:00:00")

    def months_with(feature: str) -> list[str]:
        months = "select distinct strftime(month, '%Y-%m') from user_month_features"
        return [month for (month,) in bare_shop.query(f"{months} where feature like '{feature}' order by 1")]

    items = base.source / "items.parquet"
    without = "case when item_id % 3 > 0 then brand end as brand"
    bare_shop.write("items.parquet", f"select * replace ({without}) from '{items}'")
    build("2017-03-02")
    renamed = "case when item_id % 2 = 0 then 'new' else leaf_category end as leaf_category"
    given = "case when item_id % 3 > 0 then brand else 'house' end as brand"
    bare_shop.write("items.parquet", f"select * replace ({renamed}, {given}, price + 1 as price) from '{items}'")
    bare_shop.write("actions/month=2017-03/new.csv", february(bare_shop, days_later=31))
    bare_shop.write("actions/month=2017-01/late.csv", f"{february(bare_shop, days_later=-31)} limit 1")
    build("2017-04-02")
    bare_shop.write("actions/month=2017-04/new.csv", february(bare_shop, days_later=61))
    build("2017-05-02")
    assert months_with("leaf=new") == ["2017-04"]
    assert months_with("brand=%|house") == ["2017-01", "2017-03", "2017-04"], "February was not counted again"
    ((n_former,),) = bare_shop.query("select count(*) from stg_items where item_id <> catalogue_item_id")
    ((n_changed,),) = bare_shop.query(f"select count(*) from '{items}' where item_id % 2 = 0")
    assert n_former == n_changed > 100
    prices = "select count(*), count(price), sum((price + {})::decimal(9, 1)) from {}"
    ((n_all, n_priced, total),) = bare_shop.query(prices.format(0, "stg_items"))
    assert bare_shop.query(prices.format(1, f"'{items}'")) == [(n_priced, n_priced, total)]
    assert n_all == n_priced + n_former, "former attributes have no price"
