"""Equivalent forms of a source, which give the same posteriors."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from project import assert_same

MONTHS = ["2016-07", "2016-08", "2016-09"]
COMPARED = ["user_months", "user_month_features", "stage_log_likelihoods", "birth_month_filter"]
SOURCE_TABLES = ("actions", "items", "children")


def files_of(shop, table, months):
    """The Parquet files of a table; for the actions, those of `months`."""
    if table != "actions":
        return [shop.source / f"{table}.parquet"]
    return [file for month in months for file in sorted((shop.source / "actions" / f"month={month}").glob("*.parquet"))]


def quoted(files):
    return ", ".join(f"'{file}'" for file in files)


@pytest.mark.fault("Rows", "shuffled source, a fifth of it duplicated", "same posteriors")
@pytest.mark.slow
def test_the_order_of_rows_and_files_and_duplicates_do_not_matter(base, new_shop):
    dice = random.Random(1)
    for table in SOURCE_TABLES:
        rows = pa.concat_tables(pq.ParquetFile(file).read() for file in files_of(base, table, MONTHS))
        order = [*range(len(rows)), *dice.sample(range(len(rows)), len(rows) // 5)]
        dice.shuffle(order)
        (new_shop.source / f"{table}.parquet").unlink(missing_ok=True)
        for part in range(3):
            file = new_shop.source / table / f"folder-{dice.random()}" / f"part-{part}.parquet"
            file.parent.mkdir(parents=True)
            pq.write_table(rows.take(order[part::3]), file)
    new_shop.build()
    assert_same(new_shop, base, COMPARED, where="month <= date '2016-09-01'")


@pytest.mark.slow
def test_csv_gives_the_same_posteriors_as_parquet(base, new_shop):
    for table in SOURCE_TABLES:
        (new_shop.source / f"{table}.parquet").unlink(missing_ok=True)
        path = "actions/any name.csv" if table == "actions" else f"{table}.csv"
        rows = f"from read_parquet([{quoted(files_of(base, table, MONTHS))}])"
        new_shop.write(path, f"select *, 'a column beyond the contract' as utc_time {rows}")
    new_shop.build()
    assert_same(new_shop, base, COMPARED, where="month <= date '2016-09-01'")


@pytest.mark.slow
def test_tables_of_a_schema_give_the_same_posteriors_as_files(base, new_shop):
    def select(table, months):
        return f"from read_parquet([{quoted(files_of(base, table, months))}])"

    tables = [f"create table shop.{table} as {select(table, MONTHS[:2])}" for table in SOURCE_TABLES]
    new_shop.change("create schema shop", *tables)
    new_shop.build(source_schema="shop")
    assert_same(new_shop, base, COMPARED, where="month <= date '2016-08-01'")
    before = new_shop.run_of_months("birth_month_filter")

    new_shop.change(f"insert into shop.actions {select('actions', MONTHS[2:])}")
    new_shop.build(source_schema="shop")
    assert_same(new_shop, base, COMPARED, where="month <= date '2016-09-01'")
    after = new_shop.run_of_months("birth_month_filter")
    assert {month: after[month] for month in before} == before


@pytest.mark.fault("Months and runs", "month boundary in three time zones", "local calendar months")
@pytest.mark.slow
def test_months_and_days_end_in_the_business_timezone(bare_shop):
    times = (
        "2016-10-31 15:59:59",
        "2016-10-31 20:00:00",
        "2016-10-31T23:00:00+08:00",
        "2016-11-30 15:59:59",
        "2016-11-30 16:00:00",
    )
    rows = ", ".join(f"({number}, 1, '{time}', 'search', null, 'milk')" for number, time in enumerate(times))
    bare_shop.write(
        "actions/all.csv",
        f"from (values {rows}) as t(action_id, user_id, occurred_at, action, item_id, search_term)",
    )
    bare_shop.build(business_timezone="Asia/Shanghai")
    assert bare_shop.query(
        "select strftime(month, '%Y-%m'), acted_on::varchar from stg_actions order by action_id"
    ) == [
        ("2016-10", "2016-10-31"),
        ("2016-11", "2016-11-01"),
        ("2016-10", "2016-10-31"),
        ("2016-11", "2016-11-30"),
        ("2016-12", "2016-12-01"),
    ]
    # An action on the last day in that zone, or later, closes a month there.
    assert bare_shop.query("select is_closed from month_calendar order by month") == [
        (True,),
        (True,),
        (False,),
    ]
