"""Importers of public data: every row arrives with the same meaning, or nothing is written."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from life_stage_demo.contract import InputError
from life_stage_demo.import_actions import import_actions
from life_stage_demo.import_baby_purchases import import_baby_purchases

REAL_DATA = os.environ.get("LIFE_STAGE_REAL_DATA")
needs_real_data = pytest.mark.skipif(REAL_DATA is None, reason="LIFE_STAGE_REAL_DATA names no folder with real data")

TRADE = """user_id,auction_id,category_2,category_1,buy_mount,day
1,77,501,28,2,20130105
1,77,501,28,2,20130105
1,78,502,28,10000,20121231
2,77,503,38,1,20130201
3,79,504,38,x,notaday
"""
BABY = "user_id,birthday,gender\n1,20121101,0\n2,19840506,2\n"
LOG = """user_id,item_id,behavior_type,user_geohash,item_category,time
5,90,1,,11,2014-12-06 02
5,90,1,,11,2014-12-06 02
5,91,buy,9q,12,2014-11-30 23
6,91,4,,12,never
"""


def read(folder: Path, path: str, columns: str) -> list[tuple]:
    sql = f"select {columns} from read_parquet('{folder / path}', hive_partitioning = true) order by all"
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def babies(tmp_path):
    (tmp_path / "trade.csv").write_text(TRADE)
    (tmp_path / "baby.csv").write_text(BABY)
    return tmp_path


def test_every_purchase_arrives_at_midday_of_its_day(babies):
    import_baby_purchases(babies, babies / "out")
    columns = "month, user_id, occurred_at::varchar, action, item_id, quantity"
    assert read(babies / "out", "actions/*/*.parquet", columns) == [
        ("2012-12", "1", "2012-12-31 12:00:00", "purchase", "78", 10000),
        ("2012-12", "3", None, "purchase", "79", None),
        ("2013-01", "1", "2013-01-05 12:00:00", "purchase", "77", 2),
        ("2013-01", "1", "2013-01-05 12:00:00", "purchase", "77", 2),
        ("2013-02", "2", "2013-02-01 12:00:00", "purchase", "77", 1),
    ]


def test_ids_are_distinct_and_do_not_depend_on_the_order_of_rows(babies):
    import_baby_purchases(babies, babies / "out")
    first = read(babies / "out", "actions/*/*.parquet", "action_id")
    header, *lines = TRADE.splitlines()
    (babies / "trade.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    import_baby_purchases(babies, babies / "out")
    assert read(babies / "out", "actions/*/*.parquet", "action_id") == first
    assert len(set(first)) == 5


def test_a_baby_is_registered_on_the_first_purchase_day(babies):
    import_baby_purchases(babies, babies / "out")
    columns = "user_id, child_no, birth_date::varchar, registered_at::varchar"
    assert read(babies / "out", "children.parquet", columns) == [
        ("1", 1, "2012-11-01", "2012-12-31 00:00:00"),
        ("2", 1, "1984-05-06", "2013-02-01 00:00:00"),
    ]


def test_an_item_takes_its_most_frequent_category(babies):
    import_baby_purchases(babies, babies / "out")
    assert read(babies / "out", "items.parquet", "item_id, category, leaf_category, title") == [
        ("77", "28", "501", None),
        ("78", "28", "502", None),
        ("79", "38", "504", None),
    ]


def test_the_property_column_of_the_original_becomes_json(babies):
    lines = [line + (",property" if n == 0 else ",21:8;13:9;bad") for n, line in enumerate(TRADE.splitlines())]
    (babies / "trade.csv").write_text("\n".join(lines) + "\n")
    import_baby_purchases(babies, babies / "out")
    found = read(babies / "out", "items.parquet", "item_id, properties ->> '21', properties ->> '13'")
    assert found == [("77", "8", "9"), ("78", "8", "9"), ("79", "8", "9")]


def test_a_missing_column_is_one_line_and_nothing_is_written(babies):
    (babies / "trade.csv").write_text("user_id,day\n1,20130101\n")
    program = [
        sys.executable,
        "-m",
        "life_stage_demo.import_baby_purchases",
        str(babies),
        "--out",
        str(babies / "out"),
    ]
    run = subprocess.run(program, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "LS-DEMO-011 auction_id, category_2, category_1, buy_mount missing" in run.stderr
    assert not (babies / "out").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"trade\.csv is missing"):
        import_baby_purchases(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_logged_action_arrives_with_its_own_word(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "items.csv").write_text("item_id,item_geohash,item_category\n92,,13\n")
    import_actions([tmp_path], tmp_path / "out")
    found = read(tmp_path / "out", "actions/*/*.parquet", "month, user_id, occurred_at::varchar, action, item_id")
    assert found == [
        ("2014-11", "5", "2014-11-30 23:00:00", "buy", "91"),
        ("2014-11", "6", None, "purchase", "91"),
        ("2014-12", "5", "2014-12-06 02:00:00", "click", "90"),
        ("2014-12", "5", "2014-12-06 02:00:00", "click", "90"),
    ]
    assert len(set(read(tmp_path / "out", "actions/*/*.parquet", "action_id"))) == 4
    assert read(tmp_path / "out", "items.parquet", "item_id, category") == [
        ("90", "11"),
        ("91", "12"),
        ("92", "13"),
    ]


def test_seconds_since_1970_are_read(tmp_path):
    (tmp_path / "log.csv").write_text(
        "user_id,item_id,item_category,behavior_type,time\n1,2268318,2520377,pv,1511544070\n"
    )
    import_actions([tmp_path], tmp_path / "out")
    found = read(tmp_path / "out", "actions/*/*.parquet", "month, occurred_at::varchar")
    assert found == [("2017-11", "2017-11-24 17:21:10")]


def test_a_log_without_one_readable_time_is_not_imported(tmp_path):
    (tmp_path / "log.csv").write_text(LOG.replace("2014-", "14-"))
    with pytest.raises(InputError, match="LS-DEMO-014 none of the 4 times"):
        import_actions([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_log_without_children_gets_an_empty_children_table(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    import_actions([tmp_path / "log.csv"], tmp_path / "out")
    assert read(tmp_path / "out", "children.parquet", "user_id, child_no, birth_date, registered_at") == []


def test_without_a_log_nothing_is_written(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,item_category\n1,2\n")
    with pytest.raises(InputError, match="behavior_type"):
        import_actions([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@needs_real_data
def test_all_rows_of_the_real_samples_arrive(tmp_path):
    import_baby_purchases(Path(REAL_DATA) / "baby-purchases", tmp_path / "babies")
    import_actions([Path(REAL_DATA) / "mobile-actions-sample"], tmp_path / "log")
    count = "count(*), count(distinct action_id), count(occurred_at)"
    assert read(tmp_path / "babies", "actions/*/*.parquet", count) == [(29971, 29971, 29971)]
    assert read(tmp_path / "babies", "children.parquet", "count(*), count(registered_at)") == [(953, 953)]
    assert read(tmp_path / "log", "actions/*/*.parquet", count) == [(1999, 1999, 1999)]
