"""Feature groups: the features of each, their counts, and runs with a new, faulty or changed file."""

import json
import math
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import yaml
from project import PROJECT, Shop, assert_same, copy_shop, made_once, make_shop

from life_stage.commands.new_feature import FOLDER, new_feature

STATE = [
    "user_month_features",
    "stage_coefficients",
    "month_model_assignments",
    "stage_log_likelihoods",
    "stage_scores",
]
STATE += ["birth_month_filter", "dynamic_fusion"]
PAST = "month < date '2017-03-01'"
EVENING_SHARE = """\
select user_id, month, 'evening_share=all' as feature, {value} as value
from {{{{ ref("stg_actions") }}}}
group by user_id, month
"""
SHARE = "avg(case when hour(occurred_at) between 20 and 22 then 1 else 0 end)"

# item_id, title, category, brand, size, properties; all of one leaf.
ITEMS = [
    ("1", "宝宝3岁裤", "尿裤", "Sora", "L", '{"material": "cotton", "pieces": 60, "organic": true, "note": null}'),
    ("2", "帽子", None, "Sora", "80", '["cotton", "wool"]'),
    ("3", "帽子", "toys", None, None, '{"fits": {"from": 3}, "ratio": 1.5}'),
    ("4", None, "toys", "Sora", None, "material: cotton"),
    ("5", None, "toys", None, "L", json.dumps({"short": "x" * 40, "long": "x" * 41})),
    ("6", None, "toys", None, None, '{"a|b": "c", "a": "b|c"}'),
    ("7", None, "toys", None, None, None),
]
WIDE = "\uff21\uff30\uff34\uff21\uff2d\uff29\uff2c\u3000\uff13段"  # APTAMIL 3段 in full-width signs
WORDS_OF_TERMS = {
    "Pampers 尿不湿 XL": {"pampers", "尿不", "不湿", "xl"},
    "奶粉2段": {"奶粉", "2段"},
    "奶粉 3段": {"奶粉", "3段"},
    WIDE: {"aptamil", "3段"},
    "婴儿连体衣": {"婴儿", "儿连", "连体", "体衣"},
    "嬰兒床": {"婴儿", "儿床"},
    "推车": {"推车"},
    "童": {"童"},
    "don't cry, baby!": {"don", "cry", "baby"},
    "iphone6s": {"iphone6s"},
    "1.5段": {"1.5段"},
    "1000片湿巾": {"1000片", "湿巾"},
    "6-12个月": {"12个", "月"},
    "骑士 a b": {"骑士"},
    "café für Привет": {"café", "für", "привет"},
    "おむつ M": {"おむ", "むつ"},
    "기저귀 L": {"기저귀"},
    "👶🍼": set(),
    "...?!": set(),
    "42": set(),
}
NO_REGISTRATIONS = (
    "select 1 as user_id, 1 as child_no, current_date as birth_date, current_date as registered_at limit 0"
)


def at(day: str, user: str, item: str | None = None, action: str = "click", term: str | None = None) -> tuple:
    return day, user, action, item, term


ACTIONS = [
    *[at("2017-01-10 10:00:00", "many_clicks", "1")] * 5,
    at("2017-01-01 00:00:00", "month_ends", "1"),
    at("2017-01-31 00:00:00", "month_ends", "1"),
    at("2017-01-31 23:59:59", "month_ends", "1"),
    at("2017-02-01 00:00:00", "month_ends", "1"),
    at("2017-01-03 09:00:00", "buyer", "1"),
    at("2017-01-04 09:00:00", "buyer", "1", action="purchase"),
    at("2017-01-04 09:30:00", "buyer", "1", action="purchase"),
    at("2017-01-05 09:00:00", "collector", "1", action="collect"),
    at("2017-01-06 09:00:00", "collector", "1", action="cart"),
    *[at(f"{date(2017, 1, 1) + timedelta(n)} 12:00:00", "everyday", "1") for n in range(59)],
    at("2017-01-07 08:00:00", "several_terms", term="奶粉2段", action="search"),
    at("2017-01-07 09:00:00", "several_terms", term="1.5段", action="search"),
    at("2017-01-07 10:00:00", "several_terms", term=WIDE, action="search"),
    at("2017-01-07 10:01:00", "several_terms", term="奶粉 3段", action="search"),
    at("2017-01-08 08:00:00", "several_terms", term="奶粉2段", action="search"),
    *[at("2017-01-09 08:00:00", "reader", term=term, action="search") for term in WORDS_OF_TERMS],
    *[at("2017-01-09 08:00:00", "reader", item[0]) for item in ITEMS],
]


def write_items(shop: Shop, items: list[tuple]) -> None:
    columns = ["item_id", "title", "category", "brand", "size", "properties"]
    pd.DataFrame(items, columns=columns).assign(leaf_category="leaf").to_parquet(shop.source / "items.parquet")


def write_actions(shop: Shop, month: str, actions: list[tuple]) -> None:
    frame = pd.DataFrame(actions, columns=["occurred_at", "user_id", "action", "item_id", "search_term"])
    frame.insert(0, "action_id", [f"{month} {n}" for n in range(len(frame))])
    folder = shop.source / "actions" / f"month={month}"
    folder.mkdir(parents=True)
    frame.to_parquet(folder / "actions.parquet")


@pytest.fixture(scope="module")
def corner(base, tmp_path_factory):
    """A shop of a few items and actions in two months, without registrations, after one run. Copy it to change it."""

    def make(folder: Path) -> None:
        shop = make_shop(folder, like=base)
        shop.source.mkdir()
        write_items(shop, ITEMS)
        write_actions(shop, "2017-01", ACTIONS)
        shop.write("children.parquet", NO_REGISTRATIONS)
        shop.build()

    return Shop(made_once(tmp_path_factory, "corner", make))


def features(shop: Shop, user: str, month: str = "2017-01") -> dict[str, int]:
    """{feature: days} of a user's month, without counts of actions."""
    where = f"user_id = '{user}' and month = date '{month}-01' and n_days is not null"
    return dict(shop.query(f"select feature, n_days from user_month_features where {where}"))


def of_items(shop: Shop, family: str) -> set[tuple[str, str]]:
    return set(shop.query(f"select item_id, feature from {family}"))


def test_brand_and_size_are_read_within_the_category(corner):
    assert of_items(corner, "feature_brands") == {("1", "brand=尿裤|Sora"), ("4", "brand=toys|Sora")}
    assert of_items(corner, "feature_sizes") == {("1", "size=尿裤|L"), ("5", "size=toys|L")}


def entries(properties: str | None) -> dict[str, str]:
    """The properties by definition: a JSON object's values as short text, or none."""
    try:
        found = json.loads(properties or "null")
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    texts = {key: v if isinstance(v, str) else json.dumps(v, separators=(",", ":")) for key, v in found.items()}
    return {key: text for key, text in texts.items() if found[key] is not None and len(text) <= 40}


def test_properties_are_read_from_json_objects_and_pairs_and_long_values_left_out(corner):
    expected = {(i[0], f"property={key}|{text}") for i in ITEMS for key, text in entries(i[-1]).items()}
    expected.add(("4", "property=material|cotton"))
    assert of_items(corner, "feature_properties") == expected
    assert {("1", "property=pieces|60"), ("1", "property=organic|true"), ("3", 'property=fits|{"from":3}')} < expected
    assert len(expected) == 8


def test_no_item_is_lost_for_its_properties(corner):
    assert corner.query("select item_id from stg_items order by item_id") == [(item[0],) for item in ITEMS]
    assert {item for item, feature in of_items(corner, "item_features") if feature == "leaf=leaf"} == set("1234567")


@pytest.mark.fault("Text", "search terms in several scripts, widths and signs", "tokenised into words")
def test_search_terms_are_read_as_words(corner):
    found = {term: set() for (term,) in corner.query("select distinct search_term from search_terms")}
    for term, feature in corner.query("select search_term, feature from feature_search_words"):
        found[term].add(feature.removeprefix("search_word="))
    assert found == WORDS_OF_TERMS


def test_only_what_was_searched_for_is_a_search_term(corner):
    terms = {term for (term,) in corner.query("select search_term from search_term_features")}
    assert terms <= set(WORDS_OF_TERMS)
    assert ("1", "title_age=3y") in of_items(corner, "feature_title_ages")


def test_many_clicks_in_a_day_count_once(corner):
    assert features(corner, "many_clicks")["brand=尿裤|Sora"] == 1


def test_days_at_the_ends_of_months_count_for_their_month(corner):
    assert features(corner, "month_ends")["leaf=leaf"] == 2
    assert features(corner, "month_ends", "2017-02")["leaf=leaf"] == 1
    assert features(corner, "everyday")["leaf=leaf"] == 31
    assert features(corner, "everyday", "2017-02")["leaf=leaf"] == 28


def test_two_actions_on_two_days_count_two_and_what_is_more_than_a_click_once_more(corner):
    buyer = features(corner, "buyer")
    assert (buyer["leaf=leaf"], buyer["leaf=leaf:purchase"], buyer["brand=尿裤|Sora:purchase"]) == (2, 1, 1)
    assert not any(feature.endswith(":click") for feature in buyer)
    collector = features(corner, "collector")
    assert (collector["leaf=leaf"], collector["leaf=leaf:collect"], collector["leaf=leaf:cart"]) == (2, 1, 1)


def test_a_word_of_several_terms_counts_the_days_it_was_searched_for(corner):
    assert features(corner, "several_terms") == {
        "search_word=奶粉": 2,
        "search_word=2段": 2,
        "search_word=aptamil": 1,
        "search_word=3段": 1,
        "search_word=1.5段": 1,
        # formula of a stage is formula for an age
        "search_age=6-12m": 2,
        "search_age=1-3y": 1,
    }


def test_the_regression_uses_the_logarithm_of_days_and_of_actions(corner):
    assert corner.query(
        "select count(*) from user_month_features where n_days is not null and value <> ln(1 + n_days)"
    ) == [(0,)]
    activity = "select feature, value from user_month_features where n_days is null and user_id = 'buyer'"
    found = dict(corner.query(activity))
    assert found == pytest.approx({"n_actions=click": math.log(2), "n_actions=purchase": math.log(3)}, abs=1e-15)


def test_every_feature_group_has_features_counted_by_month(base):
    listed = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]["features"]
    assert len(listed) >= 8
    for family in listed:
        met = f"select count(*) > 0 from user_month_features where feature in (select feature from {family})"
        assert base.query(met) == [(True,)], family


@pytest.mark.slow
def test_a_text_is_read_once_unless_the_dictionary_changes(corner, tmp_path):
    shop = copy_shop(corner, tmp_path / "shop")
    shop.change(
        "update search_words set word = concat('marked ', word)",
        "update text_ages set age_word = 'marked' where text = '宝宝3岁裤'",
    )
    write_items(shop, [*ITEMS, ("8", "绘本4岁", "books", None, None, None)])
    march = [at("2017-03-31 10:00:00", "reader", "8"), at("2017-03-31 10:00:00", "reader", "1")]
    terms = ("推车", "推车 5岁", "骑士 a b")
    write_actions(shop, "2017-03", [*march, *[at("2017-03-31 11:00:00", "r", None, "search", t) for t in terms]])
    before = {table: shop.frame(table) for table in ("text_ages", "search_words", "user_month_features")}
    shop.build()
    for table, text, new in (
        ("text_ages", "text", ["推车 5岁", "绘本4岁"]),
        ("search_words", "search_term", ["推车 5岁"]),
    ):
        after = shop.frame(table)
        is_new = after[text].isin(new)
        pd.testing.assert_frame_equal(after[~is_new].reset_index(drop=True), before[table], obj=table)
        assert sorted(set(after[is_new][text])) == sorted(new)
    assert shop.query("select age_word from text_ages where text in ('推车 5岁', '绘本4岁') order by text") == [
        ("5y",),
        ("4y",),
    ]
    counted = shop.frame("user_month_features", PAST)
    pd.testing.assert_frame_equal(counted, before["user_month_features"])

    with (shop.folder / "seeds" / "age_words.csv").open("a", encoding="utf-8") as dictionary:
        dictionary.write("骑士,3y,36,48,\n")
    shop.build()
    ages = "select text, age_word from text_ages where text in ('宝宝3岁裤', '骑士 a b') order by text"
    assert shop.query(ages) == [("宝宝3岁裤", "3y"), ("骑士 a b", "3y")]
    assert shop.query("select count(*) = count(distinct (text, age_word, reader)) from text_ages") == [(True,)]
    assert shop.query("select count(distinct reader) from text_ages") == [(1,)]
    # counted months keep their rows
    pd.testing.assert_frame_equal(shop.frame("user_month_features", PAST), counted)


class CountedMonth:
    """The compiled SQL of user_month_features for January 2017, on the rows of a feature group with values."""

    def __init__(self, base) -> None:
        self.connection = duckdb.connect()
        compiled = {file.stem: file.read_bytes().decode() for file in base.folder.glob("target/compiled/**/user_*.sql")}
        self.sql = compiled["user_month_features"].replace("__month__", "2017-01-01")
        self.values = compiled["user_features"]
        self.connection.execute("attach ':memory:' as warehouse")
        for table, columns in {
            "observed_features": "current_date as month, 'anna' as user_id, 1 as feature_id, 1 as day_bit",
            "item_feature_index": "1 as feature_id, 'n=x' as feature",
            "term_feature_index": "1 as feature_id, 'n=x' as feature",
        }.items():
            self.connection.execute(f"create table warehouse.main.{table} as select {columns} limit 0")

    def rows(self, value: str = "1", month: str = "date '2017-01-01'", feature: str = "'n=x'") -> list[tuple]:
        """The counted features if the group returns these rows for anna: (user, month, feature, days, value)."""
        row = f"select 'anna' as user_id, {month} as month, {feature} as feature, {value} as value"
        self.connection.execute(f"create or replace table warehouse.main.feature_activity as {row}")
        self.connection.execute(f"create or replace view warehouse.main.user_features as {self.values}")
        return self.connection.execute(self.sql).fetchall()


def test_a_feature_group_is_read_for_its_month_with_dates_and_times(base):
    month = CountedMonth(base)
    for given in ("date '2017-01-01'", "timestamp '2017-01-01'"):
        assert month.rows(month=given) == [("anna", date(2017, 1, 1), "n=x", None, 1)], given
    assert month.rows(month="date '2016-12-01'") == month.rows(month="cast(null as date)") == []


@pytest.mark.fault("Training", "NaN or infinite feature values", "LS-FEA-003, month not written")
def test_a_value_is_any_finite_number(base):
    month = CountedMonth(base)
    finite = {"0": 0, "-1.5": -1.5, "1e300": 1e300, "cast(2 as decimal(4, 1))": 2, "cast(3 as float)": 3}
    for value, number in finite.items():
        assert [row[-1] for row in month.rows(value)] == [number], value
    for value in ("'nan'", "'inf'", "'-inf'", "null"):
        with pytest.raises(duckdb.Error, match=r"LS-FEA-003 .*feature_activity\.sql .* the month was not written"):
            month.rows(f"cast({value} as double)")
        assert month.rows(f"cast({value} as double)", month="date '2016-12-01'") == [], "other months do not matter"


@pytest.mark.fault("Training", "feature without a name", "LS-FEA-005, month not written")
def test_a_feature_has_a_valid_name(base):
    """An empty one would be taken for the intercept, `last_year:` for the same month a year before."""
    month = CountedMonth(base)
    for feature in ("''", "cast(null as varchar)", "'last_year:n=x'"):
        with pytest.raises(duckdb.Error, match=r"LS-FEA-005 .*feature_activity\.sql .* name it group=value"):
            month.rows(feature=feature)
    assert month.rows(feature="'n=''quoted'': {{ é }}'")[0][2] == "n='quoted': {{ é }}"


@pytest.mark.fault("Training", "feature twice in a user's month", "LS-FEA-009, month not written")
def test_a_user_has_a_feature_once_a_month(base):
    twice = "1 as value union all select 'anna', date '2017-01-01', 'n=x', 2"
    with pytest.raises(duckdb.Error, match=r"LS-FEA-009 .*feature_activity\.sql returns a feature several times"):
        CountedMonth(base).rows(value=twice)


def add_feature_group(shop: Shop, sql: str) -> None:
    """Add a feature group as an analyst does: life-stage new-feature evening_share, then the SQL."""
    file = shop.folder / FOLDER / "feature_evening_share.sql"
    if not file.exists():
        assert new_feature("evening_share", shop.folder) == file
    file.write_text(sql, encoding="utf-8")


def add_march(shop: Shop) -> None:
    """February once more, a month later."""
    shop.write(
        "actions/month=2017-03/part.parquet",
        f"""
        select * replace (concat('march ', action_id) as action_id, occurred_at + interval 31 day as occurred_at)
        from '{shop.source}/actions/month=2017-02/*.parquet'
        where occurred_at >= '2017-02-01' and occurred_at < '2017-03-01'""",
    )


def assert_stops_before_training(shop: Shop, tables: list[str], *facts: str) -> None:
    """Assert that the run fails with the facts, and that tables and published set are unchanged."""
    before = shop.contents()
    finished = shop.start(training_every_months=1)
    assert finished.exit_code != 0
    predicted = " ".join(finished.output.split())
    assert [fact for fact in facts if fact not in predicted] == [], predicted[-3000:]
    after = shop.contents()
    assert [table for table in [*tables, "published"] if before[table] != after[table]] == []


def test_a_file_that_is_not_listed_stops_the_run_before_anything_is_written(shop):
    (shop.folder / FOLDER / "feature_forgotten.sql").write_text(EVENING_SHARE.format(value="1"), encoding="utf-8")
    before = shop.contents()
    finished = shop.start()
    assert finished.exit_code != 0
    predicted = " ".join(finished.output.split())
    assert "LS-FEA-001 models/life_stage/features/feature_forgotten.sql is not listed" in predicted, predicted[-3000:]
    assert "add feature_forgotten to var features in dbt_project.yml" in predicted
    assert shop.contents() == before


@pytest.fixture(scope="module")
def extended(base, tmp_path_factory):
    """The base with a new feature group and a new month after a run without fault."""

    def make(folder: Path) -> None:
        shop = copy_shop(base, folder)
        add_march(shop)
        add_feature_group(shop, EVENING_SHARE.format(value=SHARE))
        shop.build(training_every_months=1)

    return Shop(made_once(tmp_path_factory, "extended", make))


def test_a_new_feature_group_is_counted_for_all_months_and_trained_in_the_next_model(base, extended):
    counted = "select strftime(month, '%Y-%m') from user_month_features where feature like 'evening_share=%' group by 1"
    all_months = "select strftime(month, '%Y-%m') from user_months group by 1 order by 1"
    assert extended.query(f"{counted} order by 1") == extended.query(all_months)
    assert_same(extended, base, ["user_month_features"], where=f"{PAST} and feature not like 'evening_share=%'")
    trained = "select distinct cast(trained_through as text), model_name from stage_coefficients"
    assert extended.query(f"{trained} where feature = 'evening_share=all' order by model_name") == [
        ("2017-03-01", "log_likelihood"),
        ("2017-03-01", "memory_less"),
    ]


def test_months_keep_their_log_likelihoods_and_posteriors_without_the_feature_group(base, extended):
    assert_same(
        extended,
        base,
        ["stage_log_likelihoods", "stage_scores", "stage_posteriors", "month_model_assignments"],
        PAST,
        ignore=(),
    )
    models = "select count(distinct model_version) from month_model_assignments where month {} date '2017-03-01'"
    assert extended.query(models.format("<")) == extended.query(models.format("=")) == [(1,)]
    assert extended.query("select count(distinct model_version) from stage_log_likelihoods") == [(2,)]


@pytest.mark.fault("Training", "faulty feature group", "fails before training, no trace after the fix")
@pytest.mark.slow
def test_a_faulty_feature_group_stops_before_training_and_leaves_no_trace_after_the_fix(extended, shop):
    add_march(shop)
    add_feature_group(shop, "select item_id, brand from {{ ref('stg_items') }}\n")
    assert_stops_before_training(
        shop,
        STATE,
        "LS-FEA-002 models/life_stage/features/feature_evening_share.sql returns brand, item_id",
        "return (item_id, feature), (search_term, feature) or (user_id, month, feature, value)",
    )
    in_march = f"case when month >= date '2017-03-01' then cast('nan' as double) else 1 - {SHARE} end"
    add_feature_group(shop, EVENING_SHARE.format(value=in_march))
    assert_stops_before_training(
        shop,
        [table for table in STATE if table != "user_month_features"],
        "LS-FEA-003 models/life_stage/features/feature_evening_share.sql returns a value that is NaN, infinite or null",
        "exclude such rows",
    )
    assert "2017-03" not in shop.run_of_months("user_month_features")
    assert shop.query(f"select count(*) from user_month_features where not ({PAST})") == [(0,)]
    add_feature_group(shop, EVENING_SHARE.format(value=SHARE))
    shop.build(training_every_months=1)
    assert_same(shop, extended, [*STATE, "user_stages"])


@pytest.fixture
def checkout(tmp_path):
    """The two files that a new feature group is written to."""
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "feature_brands.sql").write_text("select 1\n")
    (tmp_path / "dbt_project.yml").write_bytes((PROJECT / "dbt_project.yml").read_bytes())
    return tmp_path


def texts(folder: Path) -> dict[Path, str]:
    return {file: file.read_text(encoding="utf-8") for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["evening_share", "feature_evening_share"])
def test_a_new_feature_is_a_file_and_one_line_of_the_list(checkout, name):
    before = (checkout / "dbt_project.yml").read_text(encoding="utf-8")
    file = new_feature(name, checkout)
    assert file == checkout / FOLDER / "feature_evening_share.sql"
    assert "select item_id, concat('evening_share=', brand) as feature\n" in file.read_text(encoding="utf-8")
    after = (checkout / "dbt_project.yml").read_text(encoding="utf-8")
    assert after.replace("    - feature_evening_share\n", "") == before
    listed = [yaml.safe_load(text)["vars"]["features"] for text in (before, after)]
    assert listed[1] == [*listed[0], "feature_evening_share"]


@pytest.mark.parametrize(
    "name", ["", "feature_", "Evening", "1st", "evening-share", "evening share", "../x", "x\n", "早", "brands", "sizes"]
)
def test_a_bad_or_taken_name_is_refused_and_changes_nothing(checkout, name):
    # brands is a file and listed, sizes is listed alone
    before = texts(checkout)
    with pytest.raises(ValueError, match=r"^LS-FEA-004 (.|\n)*; nothing was changed$"):
        new_feature(name, checkout)
    assert texts(checkout) == before


def test_a_file_without_entry_and_a_project_without_list_are_refused_and_nothing_changes(checkout):
    (checkout / FOLDER / "feature_odd.sql").write_text("select 1\n")
    settings = checkout / "dbt_project.yml"
    before = texts(checkout)
    with pytest.raises(ValueError, match="LS-FEA-004 feature_odd exists already"):
        new_feature("odd", checkout)
    assert texts(checkout) == before
    settings.write_text("vars:\n  features: [feature_brands]\n", encoding="utf-8")
    before = texts(checkout)
    with pytest.raises(ValueError, match=r"LS-FEA-004 .*has no list `features`"):
        new_feature("evening_share", checkout)
    assert texts(checkout) == before


def test_the_command_names_the_remedy_and_fails(checkout):
    before, names = texts(checkout), ["B"]
    command = [sys.executable, "-m", "life_stage.commands.command_line", "new-feature", *names]
    environment = {"PYTHONPATH": str(PROJECT / "python")}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "LS-FEA-004" in done.stderr and "'B'" in done.stderr
    assert texts(checkout) == before
