"""Nothing new: no run, no model; and whatever changed, the tables are those of a run that skips nothing."""

import json
import os
import shutil
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from project import PROJECT, Shop, assert_same, copy_shop, make_shop, pin_model

from life_stage.engine import unchanged

# Differ by run or folder.
RUN = {"model_runs", "build_log", "project_state", "published_marts", "stage_events"}
# Hold every search term ever seen.
TERMS = {"search_terms", "search_words", "text_ages", "search_term_features", "term_feature_index"}


def poison(shop: Shop, *tables: str) -> None:
    """Rows twice, which only a run that builds the table again mends."""
    with duckdb.connect(shop.warehouse) as connection:
        for table in tables:
            connection.execute(f"insert into {table} from {table}")


def is_poisoned(shop: Shop, table: str) -> bool:
    ((n, n_distinct),) = shop.query(f"select count(*), count(distinct hash(t)) from {table} as t")
    return n == 2 * n_distinct


def with_rows(shop: Shop) -> list[str]:
    """The tables with rows, without those that differ by run."""
    names = sorted(set(shop.tables()) - RUN)
    with duckdb.connect(shop.warehouse, read_only=True) as connection:
        return [name for name in names if connection.execute(f"select 1 from {name} limit 1").fetchall()]


@pytest.mark.slow
def test_a_run_with_nothing_new_builds_no_model(base, tmp_path):
    shop = copy_shop(base, tmp_path / "shop")
    poison(shop, "stage_totals", "user_stage_months")
    shop.build()
    assert is_poisoned(shop, "stage_totals") and is_poisoned(shop, "user_stage_months")
    poison(shop, "stage_reasons")
    shop.build(only="stage_totals")
    assert not is_poisoned(shop, "stage_totals"), "a selection is built"
    shop.build(marts_min_probability=0.41)
    assert not is_poisoned(shop, "user_stage_months") and not is_poisoned(shop, "stage_reasons")


@pytest.mark.slow
def test_a_failed_data_test_fails_again(base, tmp_path):
    shop = copy_shop(base, tmp_path / "shop")
    poison(shop, "age_bins")
    with duckdb.connect(shop.warehouse) as connection:
        connection.execute("delete from node_hashes where node = 'is_key_age_bins_age_bin'")
    for _ in range(2):
        finished = shop.start(checked=True)
        assert finished.exit_code != 0 and "is_key_age_bins_age_bin" in finished.output


def touched(shop: Shop) -> None:
    for file in shop.source.rglob("*.parquet"):
        os.utime(file, ns=(1, 1))


def fewer_children(shop: Shop) -> None:
    file = shop.source / "children.parquet"
    pd.read_parquet(file).iloc[::2].to_parquet(file)


def other_titles_and_children(shop: Shop) -> None:
    file = shop.source / "items.parquet"
    rows = pd.read_parquet(file)
    rows.assign(title=rows["title"].iloc[::-1].to_numpy()).to_parquet(file)
    fewer_children(shop)


def corrected(shop: Shop) -> None:
    file = next(shop.source.glob("actions/month=2016-11/*.parquet"))
    duckdb.sql(f"copy (from '{file}' where action_id % 3 <> 0) to '{file}.new' (format parquet)")
    Path(f"{file}.new").replace(file)
    os.utime(file, ns=(1, 1))


def month_gone(shop: Shop) -> None:
    shutil.rmtree(shop.source / "actions" / "month=2017-02")


@pytest.mark.slow
@pytest.mark.parametrize("change", [other_titles_and_children, touched, corrected, month_gone])
def test_after_a_change_the_tables_are_those_of_a_run_that_skips_nothing(base, tmp_path, change):
    shop, whole = (copy_shop(base, tmp_path / name) for name in ("shop", "whole"))
    for one in (shop, whole):
        change(one)
    whole.change()  # forgets what was built
    for one in (shop, whole):
        one.build(rejections_max_lost_share=1)
    assert with_rows(shop) == with_rows(whole)
    assert_same(shop, whole, with_rows(whole))


def keep_late_rows_back(shop: Shop) -> None:
    """Take a fifth of the users' rows from two months of the source, for late_rows."""
    for month in ("2016-09", "2016-11"):
        file = next(shop.source.glob(f"actions/month={month}/*.parquet"))
        for rest, path in (("<>", f"{file}_"), ("=", shop.folder / f"late-{month}.parquet")):
            duckdb.sql(f"copy (from '{file}' where hash(user_id) % 5 {rest} 0) to '{path}' (format parquet)")
        Path(f"{file}_").replace(file)


def late_rows(shop: Shop) -> None:
    withheld = sorted(shop.folder.glob("late-*.parquet"))
    if withheld:
        withheld[0].rename(shop.source / "actions" / f"month={withheld[0].stem[5:]}" / "late.parquet")


def next_month(shop: Shop) -> None:
    months = sorted(path for path in shop.folder.glob("month=*"))
    if months:
        months[0].rename(shop.source / "actions" / months[0].name)


def in_other_files(shop: Shop) -> None:
    folder = shop.source / "actions" / "month=2016-08"
    rows = pd.concat(pd.read_parquet(file) for file in folder.iterdir())
    for file in folder.iterdir():
        file.unlink()
    for n in range(3):
        rows[rows["action_id"] % 3 == n].to_parquet(folder / f"{n}.parquet")


def twice(shop: Shop) -> None:
    file = next(shop.source.glob("actions/month=2016-10/*.parquet"))
    shutil.copy2(file, file.with_name("again.parquet"))


def exported_again_a_month_later(shop: Shop) -> None:
    file = next(shop.source.glob("actions/month=2016-09/*.parquet"))
    again = "select * replace (occurred_at + interval 30 day as occurred_at)"
    path = shop.source / "actions" / "month=2016-10" / "paid.parquet"
    duckdb.sql(f"copy ({again} from '{file}' where action = 'purchase') to '{path}' (format parquet)")


# Not other titles, which count for the months that are built from then on.
DELIVERIES = [touched, fewer_children, corrected, late_rows, next_month, in_other_files]
DELIVERIES += [twice, exported_again_a_month_later]
OF_A_RUN = {"source_row_counts", "delivery_checks"}  # which files are new


@pytest.mark.slow
@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
@given(st.lists(st.sampled_from(DELIVERIES), min_size=3, max_size=3))
@example([late_rows, next_month, corrected])
@example([exported_again_a_month_later, twice, fewer_children])
def test_any_sequence_of_deliveries_gives_the_tables_of_a_fresh_build(new_shop, base, tmp_path_factory, deliveries):
    folder = tmp_path_factory.mktemp("deliveries")
    shop = copy_shop(new_shop, folder / "shop")
    shop.add_months(base, [f"2016-{month:02}" for month in range(7, 13)])
    for month in ("2017-01", "2017-02"):
        shutil.copytree(base.source / "actions" / f"month={month}", shop.folder / f"month={month}")
    keep_late_rows_back(shop)
    shop.build()
    for n, deliver in enumerate(deliveries):
        deliver(shop)
        shop.build(rejections_max_lost_share=1)
        fresh = make_shop(folder / f"fresh_{n}", like=base)
        fresh.source.symlink_to(shop.source)
        pin_model(fresh, of=base)
        fresh.build()
        tables = set(with_rows(fresh)) - TERMS - OF_A_RUN
        assert set(with_rows(shop)) - TERMS - OF_A_RUN == tables
        assert_same(shop, fresh, sorted(tables))
        replayed = "select user_id, child_no, max_by([stage], event_no)[1] as stage from {} group by all"
        replayed = f"select user_id, child_no, stage from ({replayed}) where stage is not null order by all"
        stages = "select user_id, child_no, stage from user_stages order by all"
        log = f"'{shop.published}/stage_events.parquet'"
        assert shop.query(replayed.format("stage_events")) == shop.query(stages) == shop.query(replayed.format(log))


@pytest.mark.slow
def test_a_registration_changes_its_month_and_later_ones(base, tmp_path):
    shop = copy_shop(base, tmp_path / "shop")
    before = {table: shop.run_of_months(table) for table in ("registered_births", "user_stage_months")}
    ((user,),) = shop.query(
        "select min(user_id) from user_stages where user_id not in (select user_id from stg_children)"
    )
    children = shop.source / "children.parquet"
    rows = pd.read_parquet(children)
    new = {"user_id": user, "child_no": 1, "birth_date": date(2016, 6, 10)}
    new["registered_at"] = pd.Timestamp("2017-01-20")
    pd.concat([rows, pd.DataFrame([new]).astype(rows.dtypes)]).to_parquet(children)
    shop.build()
    for table, runs in before.items():
        changed = {month for month, run in shop.run_of_months(table).items() if runs[month] != run}
        assert changed == {"2017-01", "2017-02"}, table
    known = "select strftime(min(month), '%Y-%m') from {} where user_id = '{}'"
    assert shop.query(known.format("registered_births", user)) == [("2017-01",)]


@pytest.mark.slow
def test_a_touched_file_with_the_same_contents_builds_no_model(base, tmp_path):
    shop = copy_shop(base, tmp_path / "shop")
    touched(shop)
    poison(shop, "stage_totals", "registered_births")
    shop.build()
    assert is_poisoned(shop, "stage_totals") and is_poisoned(shop, "registered_births")


@pytest.mark.slow
def test_after_an_erasure_every_count_is_computed_again(base, tmp_path):
    shop = copy_shop(base, tmp_path / "shop")
    poison(shop, "stage_totals")
    # Without a registration, no table that is always built tells of the user.
    users = "select min(user_id) from user_stages where user_id not in (select user_id from stg_children)"
    ((user,),) = shop.query(users)
    assert shop.operate("erase", user).exit_code == 0
    shop.build()
    assert not is_poisoned(shop, "stage_totals")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A source, a project, and a set that was published from them."""
    project, source = tmp_path / "project", tmp_path / "source"
    for folder in (project / "macros", project / "models", source / "actions"):
        folder.mkdir(parents=True)
    for file in (project / "macros" / "a.sql", project / "models" / "b.sql", source / "actions" / "c.csv"):
        file.write_text("1")
    shutil.copy2(PROJECT / "dbt_project.yml", project)
    for name in ("one", "two"):
        (tmp_path / "published.sets" / name).mkdir(parents=True)
        of_run = {"run_id": name, "published_at": "2017-03-02T01:00:00Z"}
        facts = json.dumps(of_run | {key: {} for key in ("columns", "contents", "files")})
        (tmp_path / "published.sets" / name / "manifest.json").write_text(facts)
    (tmp_path / "published").symlink_to("published.sets/one")
    (tmp_path / "warehouse.duckdb").touch()
    for name, path in {"SOURCE": "source", "WAREHOUSE": "warehouse.duckdb", "PUBLISHED": "published"}.items():
        monkeypatch.setenv(f"LIFE_STAGE_{name}", str(tmp_path / path))
    assert nothing_new(tmp_path) is None
    publish(tmp_path)
    assert "published is that of 2017-03-02T01:00:00Z" in nothing_new(tmp_path)
    return tmp_path


def nothing_new(folder: Path, *options: str) -> str | None:
    """What a run with these options would find."""
    return unchanged.nothing_new(unchanged.inputs_digest(folder / "project", options))


def publish(folder: Path, *options: str) -> None:
    """Mark the set as that of a run that read what is there now."""
    unchanged.mark_published(unchanged.inputs_digest(folder / "project", options))


CHANGES = {
    "a touched file": lambda folder: os.utime(folder / "source/actions/c.csv", ns=(1, 1)),
    "a new file": lambda folder: (folder / "source/items.csv").touch(),
    "a file that is gone": lambda folder: (folder / "source/actions/c.csv").unlink(),
    "a macro": lambda folder: (folder / "project/macros/a.sql").write_text("2"),
    "a model": lambda folder: (folder / "project/models/b.sql").write_text("2"),
    "a var": lambda folder: (folder / "project/dbt_project.yml").open("a").write("\n# other\n"),
    "the warehouse": lambda folder: (folder / "warehouse.duckdb").unlink(),
    "the published set": lambda folder: (
        (folder / "published").unlink(),
        (folder / "published").symlink_to("published.sets/two"),
    ),
    "the notes": lambda folder: (folder / "published.inputs").write_text("{"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_is_something_new(published, change):
    change(published)
    assert nothing_new(published) is None


def test_the_digest_covers_every_python_module_of_the_project(published, monkeypatch):
    files = set(unchanged.files_of(unchanged.PYTHON, ("life_stage*/**/*.py",)))
    assert files == {*unchanged.PYTHON.glob("life_stage*/**/*.py")} and Path(unchanged.__file__) in files
    module = published / "python" / "life_stage" / "engine" / "module.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(unchanged, "PYTHON", published / "python")
    digests = set()
    for text in ("1", "2"):
        module.write_text(text)
        digests.add(unchanged.project_digest(published / "project"))
    assert len(digests) == 2


def test_a_month_that_ends_is_something_new_and_with_consents_a_day(published, monkeypatch):
    class Later(unchanged.datetime):
        @classmethod
        def now(cls, zone=None):
            return super().now(zone) + cls.shift

    monkeypatch.setattr(unchanged, "datetime", Later)
    for days, consents, is_new in ((40, False, True), (1, True, True)):
        Later.shift = pd.Timedelta(0)
        if consents:
            (published / "source" / "consents.csv").touch()
        publish(published)
        assert nothing_new(published)
        Later.shift = pd.Timedelta(days=days)
        assert (nothing_new(published) is None) == is_new


@pytest.mark.parametrize("name", ["SOURCE", "WAREHOUSE", "PUBLISHED"])
def test_another_place_is_something_new_and_another_spelling_is_not(published, monkeypatch, name):
    linked = published.with_name(f"{published.name}_linked")
    linked.symlink_to(published)
    place = Path(os.environ[f"LIFE_STAGE_{name}"]).name
    monkeypatch.setenv(f"LIFE_STAGE_{name}", f"{linked}/./{place}")
    assert nothing_new(published)
    monkeypatch.setenv(f"LIFE_STAGE_{name}", str(published / "project"))
    assert nothing_new(published) is None


def test_the_notes_stay_until_a_run_begins(published):
    notes = published / "published.inputs"
    before = notes.read_text()
    (published / "source/items.csv").touch()
    assert nothing_new(published) is None and notes.read_text() == before
    (published / "source/items.csv").unlink()
    assert nothing_new(published)


def test_files_that_arrive_during_the_run_are_new_to_the_next(published):
    (published / "source/items.csv").touch()
    digest = unchanged.inputs_digest(published / "project")
    (published / "source/children.csv").touch()
    unchanged.mark_published(digest)
    assert nothing_new(published) is None


def test_other_options_are_something_new(published):
    options = ("--vars", "marts_min_probability: 0.5")
    assert nothing_new(published, *options) is None
    publish(published, *options)
    assert nothing_new(published, *options) and nothing_new(published) is None


@pytest.mark.parametrize("settings", ["vars: {business_timezone: nowhere, source: {schema: ''}}", "vars: [", ""])
def test_a_project_that_cannot_be_read_is_something_new(published, settings):
    """dbt names what is wrong."""
    (published / "project/dbt_project.yml").write_text(settings)
    before = (published / "published.inputs").read_text()
    assert nothing_new(published) is None
    publish(published)
    assert (published / "published.inputs").read_text() == before


@pytest.mark.parametrize("schema", ["shop", ""])
def test_a_source_of_tables_is_always_something_new(published, schema):
    project = published / "project/dbt_project.yml"
    project.write_text(project.read_text().replace('schema: ""', f'schema: "{schema}"'))
    options = () if schema else ("--vars", "source_schema: shop")
    publish(published, *options)
    assert nothing_new(published, *options) is None
