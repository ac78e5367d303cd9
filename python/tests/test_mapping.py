"""Mappings: shipped layouts, proposals, the preview, and runs on mapped files against runs on the contract's."""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import duckdb
import pytest
from project import PROJECT, assert_same, copy_shop, make_shop

from life_stage import paths
from life_stage.commands import map_source
from life_stage.commands.map_source import LAYOUTS, Table, groups_of, layouts, write_mappings
from life_stage.commands.preview import missing_labels, preview, table_sql
from life_stage.engine.contract import delivered
from life_stage.engine.project_macros import project_macros
from life_stage.engine.source_tables import opened_tables
from life_stage.mapping import Mapping, likely, mapping_of

REES46 = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
SEEN = "2019-10-01 00:00:05 UTC,view,1005,20,kids.toys,lego,5.5,77,s1\n"
GA4 = """
    select
        '77' as user_pseudo_id, cast(null as varchar) as user_id, {time} as event_timestamp, '{name}' as event_name,
        {items} as items, {params} as event_params, {{'category': 'mobile'}} as device
"""
GA4_ITEM = "{{'item_id': '1005', 'item_name': 'Romper', 'item_brand': 'lego', 'item_category': 'kids',"
GA4_ITEM += " 'item_category2': 'toys', 'item_category3': '', 'item_category4': '', 'item_category5': '',"
GA4_ITEM += " 'price': 5.5, 'quantity': 2}}"
TERM = "[{{'key': 'search_term', 'value': {{'string_value': 'stroller'}}}}]"
# By layout: files, the rows of actions (user, time, word, item), the rows of items (item, category, leaf category).
SAMPLES = {
    "rees46": (
        {"2019-Oct.csv": REES46 + SEEN, "2019-Nov.csv": REES46 + SEEN.replace("10-01", "11-01")},
        [("77", "2019-10-01 00:00:05 UTC", "view", "1005"), ("77", "2019-11-01 00:00:05 UTC", "view", "1005")],
        [("1005", "kids", "kids.toys")],
    ),
    "taobao_user_behavior": (
        {"UserBehavior.csv": "77,1005,20,pv,1511544070\n77,1006,21,buy,1511561733\n"},
        [("77", "1511544070", "pv", "1005"), ("77", "1511561733", "buy", "1006")],
        [("1005", "20", "20"), ("1006", "21", "21")],
    ),
    "tianchi_mobile": (
        {"log.csv": "user_id,item_id,behavior_type,user_geohash,item_category,time\n77,1005,4,,20,2014-12-06 02\n"},
        [("77", "2014-12-06 02", "purchase", "1005")],
        [("1005", "20", "20")],
    ),
    "tianchi_mother_baby": (
        {
            "sam_tianchi_mum_baby.csv": "user_id,birthday,gender\n77,20130401,1\n",
            "sam_tianchi_mum_baby_trade_history.csv": "user_id,auction_id,cat_id,cat1,property,buy_mount,day\n"
            "77,1005,201,28,1:2;3:4,2,20140919\n",
        },
        [("77", "20140919 12", "purchase", "1005")],
        [("1005", "28", "201")],
    ),
    "tianchi_mother_baby_renamed": (
        {
            "baby.csv": "user_id,birthday,gender\n77,20130401,1\n",
            "trade.csv": "user_id,auction_id,category_2,category_1,buy_mount,day\n77,1005,201,28,2,20140919\n",
        },
        [("77", "20140919 12", "purchase", "1005")],
        [("1005", "28", "201")],
    ),
    "retailrocket": (
        {
            "events.csv": "timestamp,visitorid,event,itemid,transactionid\n1433221332117,77,addtocart,1005,\n",
            "item_properties_part1.csv": "timestamp,itemid,property,value\n1,1005,categoryid,20\n2,1005,790,n5\n",
            "item_properties_part2.csv": "timestamp,itemid,property,value\n3,1005,categoryid,21\n",
            "category_tree.csv": "categoryid,parentid\n21,9\n20,8\n",
        },
        [("77", "1433221332117", "addtocart", "1005")],
        [("1005", "9", "21")],
    ),
    "ga4": (
        {
            "events_1.parquet": GA4.format(time=1511544070000000, name="view_item", items=f"[{GA4_ITEM}]", params="[]")
            + " union all "
            + GA4.format(time=1511544071000000, name="view_search_results", items="[]", params=TERM),
        },
        [("77", "1511544070000000", "view_item", "1005"), ("77", "1511544071000000", "view_search_results", None)],
        [("1005", "kids", "toys")],
    ),
    "shopify": (
        {
            "orders.csv": "Name,Email,Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Vendor\n"
            "#1,77,2016-05-03 11:23:45 +0200,2,Romper 6 months,5.50,1005,lego\n"
        },
        [("77", "2016-05-03 11:23:45 +0200", "purchase", "1005")],
        [("1005", None, "lego")],
    ),
    "woocommerce": (
        {
            "wc_order_product_lookup.csv": "order_item_id,order_id,product_id,customer_id,date_created,product_qty\n"
            "1,9,1005,77,2016-05-03 11:23:45,2\n2,9,1005,77,2016-05-03 11:23:45,-2\n"
        },
        [("77", "2016-05-03 11:23:45", "purchase", "1005")],
        [("1005", None, None)],
    ),
    "segment": (
        {
            "product_viewed.csv": "id,anonymous_id,user_id,event,timestamp,product_id,name,category,brand\n"
            "a,x,77,product_viewed,2016-05-03T11:23:45Z,1005,Romper,kids,lego\n"
        },
        [("77", "2016-05-03T11:23:45Z", "product_viewed", "1005")],
        [("1005", None, "kids")],
    ),
    "snowplow": (
        {
            "interactions.csv": "event_id,user_id,domain_userid,derived_tstamp,ecommerce_action_type,product_id,"
            "product_name,product_category,product_subcategory,product_brand,product_price,product_quantity\n"
            "a,,77,2016-05-03 11:23:45,product_view,1005,Romper,kids,toys,lego,5.5,\n"
        },
        [("77", "2016-05-03 11:23:45", "product_view", "1005")],
        [("1005", "kids", "toys")],
    ),
}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """An empty source, with the folder of its mappings."""
    folder = tmp_path / "source"
    folder.mkdir()
    monkeypatch.setenv("LIFE_STAGE_SOURCE", str(folder))
    monkeypatch.setenv("LIFE_STAGE_MAPPING", str(tmp_path / "mapping"))
    return folder


def deliver(source: Path, files: dict[str, str]) -> None:
    """Write files: CSV as it is, Parquet from a query."""
    for name, text in files.items():
        if name.endswith(".parquet"):
            duckdb.sql(f"copy ({text.replace('{{', '{').replace('}}', '}')}) to '{source / name}'")
        else:
            (source / name).write_text(text)


def rows_of_table(table: str, columns: str) -> list[tuple]:
    """Columns of a table as delivered, by its mapping."""
    sql = table_sql(project_macros(), table, delivered(table, paths.source_files(table)[0]))
    return duckdb.sql(f"select {columns} from ({sql}) order by all").fetchall()


def test_every_layout_has_a_sample():
    assert set(SAMPLES) == {name for name, _ in layouts()} >= {folder.name for folder in LAYOUTS.iterdir()}


@pytest.mark.parametrize("layout", SAMPLES)
def test_files_of_a_shipped_layout_are_recognised_and_read(layout, source, tmp_path):
    files, actions, items = SAMPLES[layout]
    deliver(source, files)
    found, written = write_mappings(tmp_path / "mapping", groups_of(list(files)))
    assert found == layout and {file.stem for file in written} >= {"actions", "items"}
    assert rows_of_table("actions", "user_id, occurred_at, action, item_id") == actions
    assert rows_of_table("items", "item_id, category, leaf_category") == items
    known = duckdb.sql(f"from read_csv('{Path(__file__).parents[2]}/seeds/action_synonyms.csv')").fetchall()
    assert {word for _, _, word, _ in actions} <= {word for word, *_ in known}


def test_children_of_the_public_baby_purchases_are_registered_on_their_first_purchase(source, tmp_path):
    files = dict(SAMPLES["tianchi_mother_baby"][0])
    files["sam_tianchi_mum_baby_trade_history.csv"] += "77,1005,201,28,1:2,1,20140801\n"
    deliver(source, files)
    write_mappings(tmp_path / "mapping", groups_of(list(files)))
    assert rows_of_table("children", "user_id, birth_date, registered_at") == [("77", "20130401", "20140801")]
    assert rows_of_table("items", "properties") == [("1:2;3:4",)]


def test_other_columns_are_proposed_by_names_and_values(source, tmp_path):
    deliver(
        source,
        {
            "events.csv": "Visitor ID,When,Type,SKU,Date,event\n77,x,mobile,1005,2016-05-03,page\n",
            "log.csv": "customerId,orderDate,stockCode,qty,type\n77,2016-05-03,1005,2,B2C\n",
            "products.csv": "sku,productName,department,brand\n1005,Romper,kids,lego\n",
            "kids.csv": "customer_id,dob\n77,2016-01-05\n",
        },
    )
    found, _ = write_mappings(tmp_path / "mapping", groups_of(["log.csv", "products.csv", "kids.csv"]))
    assert found == "proposed"
    # `type` holds no words of actions, so rows are purchases.
    wanted = [("77", "2016-05-03", "purchase", "1005", "2")]
    assert rows_of_table("actions", "user_id, occurred_at, action, item_id, quantity") == wanted
    assert rows_of_table("items", "item_id, title, leaf_category") == [("1005", "Romper", "kids")]
    assert rows_of_table("children", "user_id, birth_date") == [("77", "2016-01-05")]


def test_a_column_that_only_newer_files_have_is_null_in_older_ones(source, tmp_path):
    older = (REES46 + SEEN).replace("brand,", "").replace("lego,", "").replace("10-01", "09-01")
    deliver(source, SAMPLES["rees46"][0] | {"2019-Sep.csv": older})
    write_mappings(tmp_path / "mapping", groups_of(["2019-Oct.csv", "2019-Nov.csv", "2019-Sep.csv"]))
    assert len(rows_of_table("actions", "*")) == 3 and rows_of_table("items", "brand") == [("lego",)]


def test_the_pattern_of_monthly_files_matches_those_of_later_months(source, tmp_path):
    deliver(source, {"events_2019-10.csv": REES46 + SEEN, "events_2019-11.csv": REES46 + SEEN, "users.csv": "a,b\n"})
    write_mappings(tmp_path / "mapping", groups_of(["events_2019-10.csv", "events_2019-11.csv", "users.csv"]))
    assert mapping_of("actions").matches("events_2020-01.csv") and not mapping_of("actions").matches("users.csv")
    deliver(source, {"other.csv": "a,b\n"})
    assert preview().unread == ["other.csv", "users.csv"]


def test_words_of_actions_that_nobody_knows_are_shown_and_not_taken_for_purchases(source, tmp_path):
    deliver(source, {"log.csv": "user_id,item_id,time,event_type\n77,5,2016-05-03,ansicht\n77,5,2016-05-03,ansicht\n"})
    write_mappings(tmp_path / "mapping", groups_of(["log.csv"]))
    found = preview()
    assert found.unknown_words == ["ansicht"] and found.kept == 0 and "LS-SRC-007" in found.wrong[0]


def test_birthdays_of_adults_are_no_labels(source, tmp_path):
    deliver(source, SAMPLES["rees46"][0] | {"customers.csv": "customer_id,dob\n77,1980-05-03\n78,2019-01-01\n"})
    write_mappings(tmp_path / "mapping", groups_of(["2019-Oct.csv", "2019-Nov.csv", "customers.csv"]))
    assert (preview().children, preview().labelled) == (1, 0)


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """A statement on the warehouse, which the commands read; in the project's folder."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("LIFE_STAGE_WAREHOUSE", str(tmp_path / "warehouse.duckdb"))
    monkeypatch.setenv("LIFE_STAGE_MAPPING", str(tmp_path / "mapping"))

    def execute(sql: str) -> None:
        with duckdb.connect(tmp_path / "warehouse.duckdb") as connection:
            connection.execute(f"create schema if not exists raw; {sql}")

    return execute


def test_tables_are_mapped_and_previewed_as_files_are(source, tables, tmp_path, capsys):
    deliver(source, SAMPLES["rees46"][0] | {"babies.csv": "customer_id,dob\n77,2019-01-01\n"})
    tables(f"create table raw.log as from read_csv('{source}/2019-*.csv', header = true)")
    tables(f"create table raw.babies as from read_csv('{source}/babies.csv')")
    assert map_source.main([str(source)]) == 0
    of_files = capsys.readouterr().out.splitlines()
    assert map_source.main(["raw.log", "raw.babies"], is_forced=True) == 0
    of_tables = capsys.readouterr().out.splitlines()
    assert of_tables[:-1] == of_files[:-1] and of_files[0] == "layout    rees46" and "2 rows: 2 kept" in of_files[2]
    assert of_tables[-1].endswith(f"LIFE_STAGE_MAPPING={tmp_path}/mapping life-stage run --var source_schema=raw")
    texts = [(tmp_path / "mapping" / f"{table}.sql").read_text() for table in ("actions", "items", "children")]
    assert ["source_file" in text for text in texts] == [False] * 3
    assert [text.count("from raw.") for text in texts] == [1] * 3


def test_the_next_command_uses_a_warehouse_of_its_own_and_the_path_of_this_one(source, tmp_path, monkeypatch, capsys):
    deliver(source, SAMPLES["rees46"][0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [".venv/bin/life-stage", "map"])
    monkeypatch.delenv("LIFE_STAGE_WAREHOUSE", raising=False)
    for is_there in (False, True):
        map_source.main([str(source)], is_forced=True)
        line = capsys.readouterr().out.splitlines()[-1]
        own = " LIFE_STAGE_WAREHOUSE=warehouse/mine.duckdb LIFE_STAGE_PUBLISHED=published_mine" * is_there
        assert line.endswith(f"LIFE_STAGE_MAPPING={tmp_path}/mapping{own} .venv/bin/life-stage run")
        (tmp_path / "warehouse").mkdir(exist_ok=True)
        (tmp_path / "warehouse" / "life_stage.duckdb").touch()


@pytest.mark.parametrize("layout", sorted(SAMPLES.keys() - {"taobao_user_behavior"}))  # which has no names of columns
def test_layouts_fit_tables_whose_columns_have_types(layout, source, tables, tmp_path):
    deliver(source, SAMPLES[layout][0])
    names = []
    for file in SAMPLES[layout][0]:
        name = file.partition(".")[0].partition("-")[0]  # a month of several is enough
        if f"raw.t{name}" not in names:
            tables(f"create table raw.t{name} as from '{source}/{file}'")
            names.append(f"raw.t{name}")
    assert map_source.main(names) == 0
    assert (tmp_path / "mapping" / "actions.sql").read_text() and preview(source_schema="raw").kept > 0
    with opened_tables() as connection:
        assert write_mappings(tmp_path, [Table(name, connection) for name in names])[0] == layout


def test_tables_of_other_columns_are_proposed_and_what_is_wrong_is_named(tables, tmp_path, capsys):
    tables("create table raw.log as select 'a' as visitor_id, now() as ts, 5 as sku, 'view' as type")
    assert map_source.main(["raw.log"]) == 0 and "1 rows: 1 kept" in capsys.readouterr().out
    assert '"type" as action' in (tmp_path / "mapping" / "actions.sql").read_text()
    (tmp_path / "mapping" / "items.sql").unlink()
    assert preview(source_schema="raw").wrong[0].startswith("LS-SRC-001 table raw.items does not exist")
    (tmp_path / "mapping" / "items.sql").write_text("select sku as item_id, title from raw.log")
    assert "items.sql cannot be run" in preview(source_schema="raw").wrong[0]
    (tmp_path / "mapping" / "items.sql").write_text("select 1 as item_id from 'log.csv'")
    assert "items.sql names the files 'log.csv'" in preview(source_schema="raw").wrong[0]
    for words, fact in ((["raw.lgo"], "LS-SRC-001 table raw.lgo"), (["log.csv"], "LS-SRC-001")):
        with pytest.raises(SystemExit, match=fact):
            map_source.main(words)


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("select '--' as a, source_file from 'x.csv' -- from 'y.csv'", ["x.csv"]),
        ("/* from 'y.csv'\n*/ select 1 as a, source_file from\n'it''s.csv';", ["it's.csv"]),
        ("with t as (select *, 1 as b from 'x.csv') select b, source_file from t", ["x.csv"]),
    ],
)
def test_comments_and_strings_of_a_mapping_name_no_files(text, patterns, tmp_path):
    (file := tmp_path / "actions.sql").write_text(text)
    assert Mapping.parsed(file).patterns == patterns and "y.csv" not in Mapping.parsed(file).sql


@pytest.mark.parametrize(
    ("files", "code", "fact"),
    [
        ({"a.csv": "x,y\n1,2\n"}, "LS-MAP-001", "a.csv: x, y"),
        ({"a.csv": "Anna,2@x.org\nBea,3\n"}, "LS-MAP-001", "a.csv: 2 columns, whose names look like values"),
        ({"log1.csv": REES46, "log2.csv": REES46, "log3.csv": "x,y\n1,2\n"}, "LS-MAP-002", "also matches log3.csv"),
        ({"a.csv": "77,2019-10-01,view,5\n"}, "LS-MAP-004", "`-- columns:`"),
        ({"a.csv.gz": "no gzip"}, "LS-SRC-006", "a.csv.gz"),
    ],
)
def test_files_that_cannot_be_mapped_are_named(files, code, fact, source, tmp_path):
    deliver(source, files)
    with pytest.raises(ValueError, match=code) as error:
        write_mappings(tmp_path / "mapping", groups_of(list(files)))
    assert fact in str(error.value) and not (tmp_path / "mapping").exists()


def test_a_mapping_of_the_shop_is_not_replaced_unless_forced(source, tmp_path):
    deliver(source, SAMPLES["rees46"][0])
    (own := tmp_path / "mapping" / "items.sql").parent.mkdir()
    own.write_text("select 1")
    with pytest.raises(ValueError, match=r"LS-MAP-003 .*items.sql exists"):
        write_mappings(tmp_path / "mapping", groups_of(["2019-Oct.csv", "2019-Nov.csv"]))
    assert own.read_text() == "select 1" and not (own.parent / "actions.sql").exists()
    write_mappings(tmp_path / "mapping", groups_of(["2019-Oct.csv", "2019-Nov.csv"]), is_forced=True)
    assert "product_id" in own.read_text()


@pytest.fixture
def mapped(base, tmp_path):
    """The staged rows of the base in other files: one of actions a month, as CSV without ids, items and children."""
    shop = make_shop(tmp_path / "mapped", like=base)
    for folder in ("source/log", "mapping"):
        (shop.folder / folder).mkdir(parents=True)
    with duckdb.connect(base.warehouse, read_only=True) as connection:
        months = "select distinct strftime(month, '%Y-%m') from stg_actions"
        for (month,) in connection.sql(months).fetchall():
            connection.execute(f"""copy (
                select user_id as visitor, occurred_at as ts, upper(action) as what, item_id as sku,
                search_term as term, quantity as n, session_id
                from stg_actions where strftime(month, '%Y-%m') = '{month}'
            ) to '{shop.source}/log/{month}.csv'""")
    for table in ("items", "children"):
        shop.write(f"{table}_export.csv", f"select *, 1 as extra from '{base.source}/{table}.parquet'")
        (shop.folder / "mapping" / f"{table}.sql").write_text(f"select * exclude (extra) from '{table}_export.csv'")
    (shop.folder / "mapping" / "actions.sql").write_text(
        "-- Ours.\nselect visitor as user_id, ts as occurred_at, what as action, sku as item_id,"
        " term as search_term, n as quantity, session_id, -- no ids\n  source_file\nfrom 'log/*.csv';\n"
    )
    return shop


STAGED = "+stg_actions +stg_items +stg_children +action_months"


def test_mapped_files_give_the_same_rows_as_those_of_the_contract_and_are_read_by_month(mapped, base):
    mapped.build(only=STAGED)
    assert_same(mapped, base, ["stg_items", "stg_children"])
    facts = "user_id, occurred_at, action, item_id, search_term, quantity, session_id"
    found, wanted = (shop.query(f"select {facts} from stg_actions order by all") for shop in (mapped, base))
    assert found == wanted
    ((n_rows, n_ids),) = mapped.query("select count(*), count(distinct action_id) from stg_actions")
    assert n_rows == n_ids > 0
    # A file of a month that is staged is not read again: it may hold anything, if its size and time are known.
    old = mapped.source / "log" / "2016-08.csv"
    facts_of_file = old.stat()
    old.write_bytes(b"\xff" * facts_of_file.st_size)
    os.utime(old, ns=(facts_of_file.st_atime_ns, facts_of_file.st_mtime_ns))
    newest = max((mapped.source / "log").iterdir())
    lines = newest.read_text().splitlines()
    newest.write_text("\n".join([*lines, lines[-1]]) + "\n")
    mapped.build(only=STAGED)
    assert mapped.query("select count(*) from stg_actions") == [(n_rows + 1,)], "an equal row is another action"
    # The same file under another name is the same delivery, also with a further column.
    header, *rows = newest.read_text().splitlines()
    again = [f"{header},price", *(f"{row}," for row in rows)]
    newest.with_name("2017-02_again.csv").write_text("\n".join(again) + "\n")
    mapped.build(only=STAGED)
    assert mapped.query("select count(*) from stg_actions") == [(n_rows + 1,)]


@pytest.fixture
def in_tables(base, tmp_path):
    """The staged rows of the base in tables of other names and columns, in the warehouse."""
    shop = make_shop(tmp_path / "in_tables", like=base)
    log = tmp_path / "log.parquet"
    with duckdb.connect(base.warehouse, read_only=True) as connection:
        connection.execute(f"""copy (
            select user_id as visitor, occurred_at as ts, upper(action) as what, item_id as sku, search_term as term,
            quantity as n, session_id from stg_actions order by occurred_at
        ) to '{log}' (row_group_size 2048)""")
    others = [f"create table raw.{name} as from '{base.source}/{name}.parquet'" for name in ("items", "children")]
    shop.change("create schema raw", f"create view raw.events as from '{log}'", *others)
    (shop.folder / "mapping").mkdir()
    (shop.folder / "mapping" / "actions.sql").write_text(
        "-- Ours.\nselect visitor as user_id, ts as occurred_at, what as action, sku as item_id,\n"
        "term as search_term, n as quantity, session_id from raw.events;\n"
    )
    return shop


def scanned(connection, sql):
    """The rows that a query reads of its tables and files."""
    with tempfile.TemporaryDirectory() as folder:
        connection.execute(f"set enable_profiling = 'json'; set profiling_output = '{folder}/profile.json'")
        connection.execute(sql).fetchall()
        connection.execute("set enable_profiling = 'no_output'")
        return sum(map(int, re.findall(r'rows_scanned": *(\d+)', Path(folder, "profile.json").read_text())))


def test_mapped_tables_give_the_same_rows_as_files_and_a_month_reads_its_own_rows(in_tables, base):
    in_tables.build(only=STAGED, source_schema="raw", environment={"LIFE_STAGE_ID_KEY": ""})
    facts = "user_id, occurred_at, action, item_id, search_term, quantity, session_id"
    found, wanted = (shop.query(f"select {facts} from stg_actions order by all") for shop in (in_tables, base))
    assert found == wanted
    ((n_rows, n_ids),) = in_tables.query("select count(*), count(distinct action_id) from stg_actions")
    assert n_rows == n_ids > 20_000
    log = " ".join((in_tables.folder / "logs" / "dbt.log").read_text().split())
    months = set(re.findall(r"as utc_time from \((select .*?)\) as source_rows", log))
    with duckdb.connect(in_tables.warehouse, read_only=True) as connection:
        *others, home = sorted(scanned(connection, sql) for sql in months)
    assert len(others) == 7 and max(others) < n_rows / 3 < n_rows <= home, "row groups have 2,048 rows"


@pytest.mark.slow
def test_the_preview_has_the_figures_of_a_run(mapped, monkeypatch):
    log = max((mapped.source / "log").iterdir())
    log.write_text(log.read_text() + ",2017-02-03,CLICK,5,,,\n77,soon,CLICK,5,,,\n77,2017-02-03,dance,5,,,\n")
    mapped.build(only=STAGED)
    for name in ("SOURCE", "MAPPING"):
        monkeypatch.setenv(f"LIFE_STAGE_{name}", str(mapped.folder / name.lower()))
    found = preview()
    ((kept, rejected),) = mapped.query(
        "select count(case when reasons is null and not is_duplicate then 1 end), count(reasons) from stg_action_rows"
    )
    assert (found.kept, sum(found.rejected.values())) == (kept, rejected) and found.wrong == found.unread == []
    reasons = mapped.query("select split_part(reasons, ' ', 1), count(*) from stg_action_rows group by all")
    assert found.rejected == {reason: n_rows for reason, n_rows in reasons if reason is not None}
    assert found.rejected == {"action_unknown": 1, "time_unreadable": 1, "user_missing": 1}
    assert found.unknown_words == ["dance"] and found.months == sorted(mapped.run_of_months("stg_action_rows"))
    assert [(found.users, found.items, found.children)] == mapped.query(
        "select (select count(distinct user_id) from stg_actions), (select count(*) from stg_items),"
        " (select count(*) from stg_child_rows where user_id is not null and birth_date is not null"
        " and coalesce(reason, '') not like 'birth_%')"
    )
    assert 0 < found.labelled <= found.children and found.expected is None and "too few" in found.outlook()
    shutil.copy2(PROJECT / "requirements.lock", mapped.folder)
    assert json.loads(mapped.run("life-stage", "doctor", "--json").output)["source"]["kept"] == kept


@pytest.mark.parametrize(
    ("table", "text", "code", "fact"),
    [
        ("actions", "select visitor from log", "LS-SRC-012", "names no files"),
        ("actions", "select visitor as user_id from 'log/*.csv'", "LS-SRC-012", "select source_file"),
        ("actions", "select visiter as user_id, source_file from 'log/*.csv'", "LS-SRC-012", "visitor"),
        (
            "actions",
            "select visitor as user_id, source_file from 'log/*.csv'",
            "LS-SRC-002",
            "occurred_at, action, item",
        ),
        ("items", "select 1 as item_id from 'items/*.csv'", "LS-SRC-001", "no file"),
        ("children", "select * from 'babies_2020.csv'", "LS-SRC-001", "no file"),
        ("children", "select 1 as user_id from 'children_export.csv'; select 2", "LS-SRC-012", "several statements"),
    ],
)
def test_a_mapping_that_cannot_be_run_stops_the_run(table, text, code, fact, mapped):
    (mapped.folder / "mapping" / f"{table}.sql").write_text(text)
    finished = mapped.start(only=STAGED)
    lines = " ".join(finished.output.split())
    assert finished.exit_code != 0 and code in lines and fact in lines[lines.index(code) :], lines[-1500:]
    assert not mapped.warehouse.exists() or mapped.tables() == []


@pytest.mark.slow
def test_a_changed_mapping_reads_every_file_again(mapped):
    mapped.build(only=STAGED)
    file = mapped.folder / "mapping" / "actions.sql"
    file.write_text(file.read_text().replace("term as", "term || '!' as"))
    mapped.build(only=STAGED)
    found = mapped.query("select count(*), count(case when search_term like '%!' then 1 end) from stg_actions")
    terms = mapped.query("select count(search_term) from stg_actions")
    assert found[0][1] == terms[0][0] > 0


def test_without_children_a_run_says_so_and_stages_the_rest(base, tmp_path):
    shop = copy_shop(base, tmp_path / "childless")
    (shop.source / "children.parquet").unlink()
    finished = shop.start(only="+stg_actions +stg_children", rejections_max_lost_share=1)
    assert finished.exit_code == 0 and "LS-SRC-013" in finished.output


def test_a_run_names_the_registered_children_that_a_model_lacks(source, monkeypatch):
    monkeypatch.setenv("LIFE_STAGE_MAPPING", "")
    assert "LS-ML-001 no model will be trained: 0 users" in missing_labels()
    rows = "".join(f"{user},2016-01-0{user % 9 + 1}\n" for user in range(100, 200))
    deliver(source, {"children.csv": f"user_id,birth_date\n{rows}100,2014-01-01\n101,1980-01-01\n"})
    # Of 100 users one has two children; a customer's own birthday is no child's.
    assert missing_labels().startswith("LS-ML-001 no model will be trained: 99 users have one registered child, 80% of")
    assert missing_labels(training_min_users=79) is None
    assert missing_labels(training_labels="age_words") is missing_labels(training_min_users="many") is None
    (source / "children.csv").write_bytes(b"\xff\x00")
    assert missing_labels() is None, "the run names it"


@pytest.mark.parametrize(
    ("column", "delivered", "meant"),
    [
        ("user_id", ["sku", "Visitor ID"], "Visitor ID"),  # by its name in other shops
        ("occurred_at", ["event_tme", "item"], "event_tme"),  # misspelt
        ("leaf_category", ["titel", "price"], None),
        ("item_id", [], None),
    ],
)
def test_a_missing_column_is_guessed_by_its_other_names_and_its_spelling(column, delivered, meant):
    assert likely(column, delivered) == meant
