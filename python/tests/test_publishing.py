"""Publication of the marts: one complete set, old or new, under a constant path."""

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import threading
import time
import venv

import duckdb
import pytest

from life_stage import paths, publishing
from life_stage.commands import command_line
from life_stage.operations.erased_files import search_published, unpublish
from life_stage.publishing import SMALL, publish, refuse_foreign

OLD_READER = """
import duckdb, sys
reader = duckdb.connect(sys.argv[1], read_only=True)
print(reader.sql("from user_stages").fetchall(), reader.sql("from user_stage_months").fetchall())
"""
HISTORY = {"2017-01": "('anna', 0.7)", "2017-02": "('anna', 0.8), ('bea', 0.9)"}


class Shop:
    """Marts that change from run to run, and their publication path."""

    def __init__(self, published):
        self.published, self.connection, self.run = published, duckdb.connect(), 0

    def publish(
        self,
        rows="('anna', 'newborn', 0.8)",
        columns="user_id, stage, probability",
        descriptions=None,
        history=HISTORY,
        **marts,
    ):
        """Publish one run: `rows` are those of user_stages; `marts` replaces whole marts by other SQL."""
        self.run += 1
        months = [
            f"select date '{month}-01' as month, * from (values {users}) as v(user_id, probability)"
            for month, users in history.items()
        ]
        queries = {
            "user_stages": f"from (values {rows}) as v({columns})" if rows else "select 'x' as user_id where false",
            "user_stage_months": " union all ".join(months),
            "stages": "from (values (2, 'newborn'), (1, 'pregnancy')) as v(stage_no, stage)",
            "model_runs": f"""
                select
                    printf('%08d', n) as run_id, make_timestamp(2017, 1, n, 0, 0, 0) as started_at,
                    'succeeded' as status
                from range(1, {self.run + 1}) as runs(n)
            """,
        }
        relations = {name: self.connection.sql(sql) for name, sql in (queries | marts).items()}
        return publish(relations, {"published": str(self.published)}, descriptions).to_pylist()

    def sets(self):
        return sorted(path.name for path in self.published.with_name(self.published.name + ".sets").iterdir())

    def users(self):
        return duckdb.sql(f"select user_id from '{self.published}/user_stages.parquet'").fetchall()

    def months(self):
        """{file of a month: inode}."""
        return {path.name: path.stat().st_ino for path in (self.published / "user_stage_months").iterdir()}

    def users_of_view(self):
        with duckdb.connect(self.published / "life_stage.duckdb", read_only=True) as connection:
            assert connection.sql("from user_stage_months").fetchall()
            return connection.sql("select user_id from user_stages").fetchall()


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path / "marts" / "published")


def matches_manifest(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {name: hashlib.sha256((folder / f"{name}.parquet").read_bytes()).hexdigest() for name in manifest["files"]}
    tables = {
        n: hashlib.sha256((folder / f"{n}.csv").read_bytes()).hexdigest() for n in SMALL if n in manifest["files"]
    }
    views = hashlib.sha256((folder / "life_stage.duckdb").read_bytes()).hexdigest()
    return (
        views == manifest["views_sha256"]
        and tables == {n: manifest["files"][n]["csv_sha256"] for n in tables}
        and files == {name: facts["sha256"] for name, facts in manifest["files"].items()}
    )


def test_a_new_set_is_a_folder_of_its_own_behind_the_link(shop):
    shop.publish()
    first = shop.published.resolve()
    shop.publish("('bea', 'infant', 0.9)")
    assert shop.published.is_symlink() and shop.published.resolve() != first
    assert sorted(path.name for path in shop.published.parent.iterdir()) == ["published", "published.sets"]
    assert shop.users() == [("bea",)]
    assert matches_manifest(first) and matches_manifest(shop.published)


def test_the_returned_manifest_lists_mart_and_content_of_each_file(shop):
    rows = {row["path"]: row for row in shop.publish("('anna', 'newborn', 0.8), ('bea', 'infant', 0.9)")}
    files = {"user_stages": 2, "user_stage_months/2017-01": 1, "user_stage_months/2017-02": 2}
    files |= {"stages": 2, "model_runs": 1}
    assert {path: row["n_rows"] for path, row in rows.items()} == {
        f"{shop.published}/{name}.parquet": n_rows for name, n_rows in files.items()
    }
    for name in files:
        row, file = rows[f"{shop.published}/{name}.parquet"], shop.published / f"{name}.parquet"
        assert row["mart"] == name.split("/")[0] and row["run_id"] == "00000001"
        assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_marts_lie_in_key_order(shop):
    shop.publish("('c', 's', .1), ('a', 's', .2), ('b', 's', .3)")
    assert shop.users() == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize(
    ("change", "written"),
    [
        ({"2017-03": "('cleo', 0.6)"}, {"2017-03.parquet"}),
        ({"2017-01": "('anna', 0.6)"}, {"2017-01.parquet"}),
        ({"2017-01": None}, set()),
    ],
    ids=["new", "changed", "removed"],
)
def test_a_month_that_changed_is_written_and_the_others_are_linked(shop, change, written):
    shop.publish()
    first, before = shop.published.resolve(), shop.months()
    history = {month: users for month, users in (HISTORY | change).items() if users}
    reader = duckdb.sql(f"from '{first}/user_stage_months/*.parquet'")
    with (first / "user_stage_months" / "2017-01.parquet").open("rb") as opened:
        shop.publish(history=history)
        after = shop.months()
        assert set(after) == {f"{month}.parquet" for month in history}
        assert {month for month, inode in after.items() if before.get(month) != inode} == written
        links = {month: (shop.published / "user_stage_months" / month).stat().st_nlink for month in after}
        assert links == {month: 1 if month in written else 2 for month in after}
        assert opened.read() == (first / "user_stage_months" / "2017-01.parquet").read_bytes()
    assert matches_manifest(first) and matches_manifest(shop.published)
    assert reader.aggregate("user_id, count(*)").order("user_id").fetchall() == [("anna", 2), ("bea", 1)]
    with duckdb.connect(shop.published / "life_stage.duckdb", read_only=True) as views:
        rows = views.sql("select distinct strftime(month, '%Y-%m') from user_stage_months order by 1").fetchall()
    assert rows == [(month,) for month in sorted(history)]


def test_unchanged_months_are_copied_where_the_file_system_refuses_links(shop, monkeypatch):
    def refuse(*_):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    shop.publish()
    shop.publish("('bea', 'infant', 0.9)")
    assert matches_manifest(shop.published) and shop.users_of_view() == [("bea",)]


def test_an_erased_user_is_in_no_set_and_months_without_the_user_stay_linked(shop):
    shop.publish()
    shop.publish("('bea', 'infant', 0.9)")
    before = shop.months()
    time.sleep(1)  # sets are named by the second
    shop.connection.execute("create table erased as select 'bea' as user_id")
    unpublish(shop.connection, shop.published, "erased")
    assert search_published(shop.connection, shop.published, "erased") == 5
    after = shop.months()
    assert after["2017-01.parquet"] == before["2017-01.parquet"]
    assert after["2017-02.parquet"] != before["2017-02.parquet"]
    assert len(shop.sets()) == 1 and matches_manifest(shop.published) and shop.users_of_view() == []
    shop.connection.execute("insert into erased values ('anna')")
    with pytest.raises(ValueError, match=r"user_stage_months/.* still contains the user"):
        search_published(shop.connection, shop.published, "erased")


def test_a_set_with_the_history_in_one_file_is_replaced_with_its_views(shop, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(publishing, "split_into_files", lambda marts: (marts, {}))
        shop.publish()
        assert (shop.published / "user_stage_months.parquet").exists() and shop.users_of_view() == [("anna",)]
    shop.publish()
    assert not (shop.published / "user_stage_months.parquet").exists() and shop.users_of_view() == [("anna",)]


def test_unchanged_marts_are_not_published_again(shop):
    before = shop.publish("('anna', 'newborn', 0.8), ('bea', 'infant', 0.9)")
    manifest, folder = (shop.published / "manifest.json").read_bytes(), shop.published.resolve()
    after = shop.publish("('bea', 'infant', 0.9), ('anna', 'newborn', 0.8)")
    assert after == before, "the rows name the run that published them"
    assert (shop.published / "manifest.json").read_bytes() == manifest
    assert shop.published.resolve() == folder and shop.sets() == [folder.name]


@pytest.mark.parametrize("rows", ["('anna', 'newborn', 0.81)", "('anna', 'newborn', 0.8), ('anna', 'newborn', 0.8)"])
def test_any_change_of_a_value_or_count_is_published(shop, rows):
    shop.publish()
    shop.publish(rows)
    assert json.loads((shop.published / "manifest.json").read_text())["run_id"] == "00000002"


def test_the_set_before_stays_until_the_next_publication(shop):
    folders = []
    for name in ("anna", "bea", "cleo"):
        shop.publish(f"('{name}', 'newborn', 0.8)")
        shop.publish(f"('{name}', 'newborn', 0.8)")  # nothing new: nothing may be removed
        folders.append(shop.published.resolve().name)
        assert shop.sets() == folders[-2:]


def test_an_empty_user_stages_replaces_nothing(shop):
    assert shop.publish(rows="") == [] and not shop.published.exists()
    shop.publish()
    folder = shop.published.resolve()
    assert [row["run_id"] for row in shop.publish(rows="")] == ["00000002"] * 5
    assert shop.published.resolve() == folder and shop.users() == [("anna",)]


@pytest.mark.fault("State", "older months than the published ones, as after a restore", "LS-PUB-003, nothing published")
def test_stages_of_older_months_replace_no_newer_ones(shop):
    shop.publish()
    before = shop.published.resolve()
    with pytest.raises(
        ValueError, match="LS-PUB-003 stages are published through 2017-02, this run has them through 2017-01"
    ):
        shop.publish("('bea', 'infant', 0.9)", history={"2017-01": HISTORY["2017-01"]})
    assert shop.published.resolve() == before and matches_manifest(before)
    shop.publish("('bea', 'infant', 0.9)", history={"2017-02": HISTORY["2017-02"]})
    assert shop.users() == [("bea",)]


def test_without_stages_the_checkout_is_published_but_it_replaces_no_stages(shop):
    recommended = "select 'anna' as user_id, 1 as rank"
    assert shop.publish(rows="", checkout_recommendations=f"{recommended} where false") == []
    no_months = "select date '2017-01-01' as month, 'anna' as user_id, 0.5 as probability where false"
    shop.publish(rows="", checkout_recommendations=recommended, user_stage_months=no_months)
    assert shop.users() == [] and len(shop.sets()) == 1
    with duckdb.connect(shop.published / "life_stage.duckdb", read_only=True) as views:
        assert views.sql("from user_stage_months").fetchall() == []
    shop.publish(rows="", checkout_recommendations=recommended.replace("anna", "bea"))
    found = duckdb.sql(f"select user_id from '{shop.published}/checkout_recommendations.parquet'").fetchall()
    assert found == [("bea",)]
    shop.publish(checkout_recommendations=recommended)
    published = shop.published.resolve()
    shop.publish(rows="", checkout_recommendations=recommended.replace("anna", "bea"))
    assert shop.users() == [("anna",)] and shop.published.resolve() == published


def test_a_set_is_named_after_the_run_that_wrote_it_not_after_a_failed_one_of_a_later_clock(shop):
    failed = "select 'failed' as run_id, timestamp '2099-01-01' as started_at, 'failed' as status union all"
    runs = f"{failed} select 'succeeded', timestamp '2017-01-01', 'succeeded'"
    assert {row["run_id"] for row in shop.publish(model_runs=runs)} == {"succeeded"}


@pytest.mark.fault("Machine", "publication fails midway", "old set kept, no temporary files")
@pytest.mark.parametrize("mart", ["model_runs", "stages"])
def test_a_failing_mart_leaves_the_old_set_and_no_temporary_files(shop, mart):
    shop.publish()
    kept, folder = shop.sets(), shop.published.resolve()
    columns = "'9' as run_id, now() as started_at, 'succeeded' as status" if mart == "model_runs" else "1 as stage_no"
    with pytest.raises(duckdb.Error, match="out of order"):
        shop.publish("('bea', 'infant', 0.9)", **{mart: f"select {columns}, error('out of order') as broken"})
    assert shop.sets() == kept and shop.published.resolve() == folder
    assert sorted(path.name for path in shop.published.parent.iterdir()) == ["published", "published.sets"]
    assert matches_manifest(shop.published) and shop.users_of_view() == [("anna",)]


@pytest.mark.parametrize("taken_by", ["file", "folder", "link"])
def test_a_path_taken_by_something_else_is_left_alone(shop, taken_by):
    other = shop.published.parent / "precious"
    other.mkdir(parents=True)
    (other / "data.txt").write_text("precious")
    if taken_by == "file":
        shop.published.write_text("precious")
    elif taken_by == "folder":
        shop.published.mkdir()
    else:
        shop.published.symlink_to(other)
    with pytest.raises(ValueError, match=f"LS-PUB-001 {shop.published} .*nothing was published"):
        shop.publish()
    assert not shop.published.with_name("published.sets").exists()
    assert taken_by != "link" or shop.published.resolve() == other


@pytest.mark.fault("State", "published.new or published.sets is something else", "LS-PUB-001, nothing published")
@pytest.mark.parametrize("name", ["published.new", "published.sets"])
@pytest.mark.parametrize("taken_by", ["file", "folder", "link"])
def test_what_has_the_place_of_the_next_link_or_of_the_sets_is_left_alone(shop, name, taken_by):
    place = shop.published.with_name(name)
    other = shop.published.parent / "precious"
    other.mkdir(parents=True)
    (other / "data.txt").write_text("precious")
    if taken_by == "file":
        place.write_text("precious")
    elif taken_by == "link":
        place.symlink_to(other / "data.txt")
    else:
        place.mkdir()
    if (name, taken_by) == ("published.sets", "folder"):
        shop.publish()
        return
    with pytest.raises(ValueError, match=f"LS-PUB-001 {place} .*nothing was published"):
        shop.publish()
    assert os.path.lexists(place) and not os.path.lexists(shop.published)
    assert (other / "data.txt").read_text() == "precious"


@pytest.mark.fault("State", "manifest of the published set in an odd state", "published again")
@pytest.mark.parametrize(
    "odd",
    [
        *(b"[]", b"null", b'"files"', b"\xff\xfe", b"{}", b'{"files": 3}', b'{"files": {"user_stages": {}}}'),
        b'{"run_id": "1", "published_at": "", "columns": {}, "contents": {}, "files": {"user_stages": 3}}',
        b'{"run_id": "1", "published_at": "", "columns": {}, "contents": {}, "files": {}}',
        None,
    ],
)
def test_a_manifest_in_an_odd_state_counts_as_lost(shop, odd):
    shop.publish()
    manifest = shop.published / "manifest.json"
    manifest.unlink()
    if odd is None:
        manifest.mkdir()
    else:
        manifest.write_bytes(odd)
    shop.publish("('bea', 'infant', 0.9)")
    assert matches_manifest(shop.published) and shop.users_of_view() == [("bea",)]
    for name in ("cleo", "dora"):  # which removes the odd set
        shop.publish(f"('{name}', 'infant', 0.9)")
    assert matches_manifest(shop.published)


def test_a_link_to_a_missing_set_is_published_again(shop):
    shop.publish()
    shop.published.resolve().rename(shop.published.with_name("lost"))
    shop.publish()
    assert matches_manifest(shop.published) and shop.users_of_view() == [("anna",)]


def test_views_read_their_own_set(shop):
    """A reader sees one set, until the second publication after it opened the views."""
    shop.publish()
    with duckdb.connect(shop.published / "life_stage.duckdb", read_only=True) as reader:
        shop.publish("('bea', 'infant', 0.9)")
        assert reader.sql("select user_id from user_stages").fetchall() == [("anna",)]
    assert shop.users_of_view() == [("bea",)]


def test_the_views_of_a_copied_set_read_the_copy_once_they_are_written_again(shop, tmp_path, capsys):
    shop.publish()
    copy = shutil.copytree(shop.published, tmp_path / "it's a [copy]")
    shop.publish("('bea', 'infant', 0.9)")
    command_line.main(["views", str(copy)])
    assert "life_stage.duckdb" in capsys.readouterr().out
    shutil.rmtree(shop.published.parent)
    with duckdb.connect(copy / "life_stage.duckdb", read_only=True) as reader:
        assert reader.sql("select user_id from user_stages").fetchall() == [("anna",)]
    assert matches_manifest(copy)
    with pytest.raises(SystemExit, match="LS-PUB-002"):
        command_line.main(["views", str(tmp_path)])


def test_an_added_column_is_in_the_views_after_the_publication(shop):
    shop.publish()
    shop.publish("('anna', 'newborn', 0.8, 3)", columns="user_id, stage, probability, months_of_evidence")
    with duckdb.connect(shop.published / "life_stage.duckdb", read_only=True) as reader:
        assert reader.sql("select months_of_evidence from user_stages").fetchall() == [(3,)]


def test_a_new_mart_has_a_view_after_the_publication(shop):
    shop.publish()
    shop.publish(stage_totals="select date '2017-01-01' as month, 7 as n_users")
    with duckdb.connect(shop.published / "life_stage.duckdb", read_only=True) as reader:
        assert reader.sql("select n_users from stage_totals").fetchall() == [(7,)]


@pytest.mark.fault("Text", "formulas of spreadsheets in any width", "quoted in published CSV")
def test_small_marts_are_also_csv_without_spreadsheet_formulas(shop):
    full_width = [chr(ord(sign) + 0xFEE0) + "1" for sign in "=+-@"]
    cells = "=1+1", "+1", "-1", "@sum(1)", "\t=1", *full_width, "辅食", 'predicted "milk, please"', "a-b"
    rows = ", ".join(f"('{cell}', {n - 3}.5)" for n, cell in enumerate(cells))
    shop.publish(stage_interests=f"from (values {rows}) as v(leaf_category, lift)")
    text = (shop.published / "stage_interests.csv").read_bytes().decode("utf-8")
    assert text.startswith("\ufeffleaf_category,lift\r\n")
    read = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))[1:]
    assert {name.removeprefix("'") for name, _ in read} == set(cells)
    assert {name for name, _ in read if name.startswith("'")} == {f"'{cell}" for cell in cells[:9]}
    assert sorted(float(lift) for _, lift in read) == sorted(float(f"{n - 3}.5") for n in range(len(cells)))
    assert not (shop.published / "user_stages.csv").exists()


def test_column_descriptions_are_in_the_views_and_in_the_dictionary(shop):
    predicted = {"user_stages": {"": "One row per user.", "stage": "It's the stage."}}
    shop.publish(descriptions=predicted)
    with duckdb.connect(shop.published / "life_stage.duckdb", read_only=True) as reader:
        columns = reader.sql("select comment from duckdb_columns() where column_name = 'stage' and comment is not null")
        assert columns.fetchall() == [("It's the stage.",)]
        assert reader.sql("select comment from duckdb_views() where comment is not null").fetchall() == [
            ("One row per user.",)
        ]
    with (shop.published / "dictionary.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["mart", "column", "type", "description"]
    assert ["user_stages", "stage", "VARCHAR", "It's the stage."] in rows and [
        "stages",
        "stage_no",
        "INTEGER",
        "",
    ] in rows
    shop.publish(descriptions=predicted)
    assert len(shop.sets()) == 1
    shop.publish(descriptions={"user_stages": {"stage": "Another word."}})
    with duckdb.connect(shop.published / "life_stage.duckdb", read_only=True) as reader:
        assert reader.sql("select comment from duckdb_columns() where comment is not null").fetchall() == [
            ("Another word.",)
        ]


@pytest.mark.parametrize(
    "name",
    [
        "stages.csv",
        "user_stages.parquet",
        "user_stage_months/2017-01.parquet",
        "dictionary.csv",
        "life_stage.duckdb",
        "manifest.json",
    ],
)
@pytest.mark.parametrize("damage", ["lost", "emptied", "changed"])
def test_a_file_that_was_lost_or_damaged_is_published_again(shop, name, damage):
    shop.publish("('bea', 'infant', 0.9)")
    shop.publish()
    file = shop.published / name
    whole = file.read_bytes()
    if damage == "lost":
        file.unlink()
    else:
        file.write_bytes(whole[:50] + b"\0" * 30 + whole[80:] if damage == "changed" else b"")
    shop.publish()
    mended = (shop.published / name).read_bytes()
    assert matches_manifest(shop.published) and (name in ("life_stage.duckdb", "manifest.json") or mended == whole)


@pytest.mark.fault("Kills", "publication killed at any step", "its files are removed by the next, all else stays")
@pytest.mark.parametrize("killed_in", ["fill_set", "write_csv", "write_views", "swap_link"])
def test_files_of_a_killed_publication_are_removed_by_the_next(shop, monkeypatch, killed_in):
    def kill(*_):
        raise KeyboardInterrupt

    shop.publish()
    with monkeypatch.context() as killed:
        killed.setattr(publishing, "remove_set", lambda folder: None)
        killed.setattr(publishing, killed_in, kill)
        with pytest.raises(KeyboardInterrupt):
            shop.publish("('bea', 'infant', 0.9)")
    shop.published.with_name("published.new").symlink_to("published.sets/killed")
    assert len(shop.sets()) == 2
    shop.publish("('bea', 'infant', 0.9)")
    assert len(shop.sets()) == 2 and matches_manifest(shop.published) and shop.users_of_view() == [("bea",)]
    assert sorted(path.name for path in shop.published.parent.iterdir()) == ["published", "published.sets"]


@pytest.mark.fault("Kills", "reads during publication", "one complete set, old or new")
def test_readers_always_see_one_complete_set(shop):
    shop.publish()
    mixed, passes, done = [], [], threading.Event()

    def read():
        while not done.is_set():
            folder = shop.published.resolve()
            try:
                (passes if matches_manifest(folder) else mixed).append(folder.name)
            except FileNotFoundError:
                # Allowed only during a read that spans two publications: its set is no longer kept.
                if folder == shop.published or folder.name in shop.sets()[-2:]:
                    mixed.append(folder.name)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(15):
        shop.publish(f"('user {n}', 'newborn', 0.8)")
    done.set()
    for reader in readers:
        reader.join()
    assert not mixed
    assert len(set(passes)) > 3, "the readers saw too few sets to prove anything"


@pytest.mark.parametrize("name", ["it's here", 'log_progress "hi"', "two  blanks", "größe 岁", "[a-z]*"])
def test_a_path_may_hold_quotes_blanks_and_letters_of_any_script(tmp_path, name):
    shop = Shop(tmp_path / name / f"published {name}")
    shop.publish()
    shop.publish("('bea', 'infant', 0.9)")
    assert matches_manifest(shop.published) and shop.users_of_view() == [("bea",)]


def test_a_path_given_relative_is_read_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "job").mkdir()
    monkeypatch.chdir(tmp_path / "job")
    shop = Shop(tmp_path / "job" / "out" / "published")
    absolute, shop.published = shop.published, "out/published"
    rows = shop.publish()
    shop.published = absolute
    monkeypatch.chdir(tmp_path)
    assert {row["path"] for row in rows} == {str(path) for path in absolute.rglob("*.parquet")}
    assert shop.users_of_view() == [("anna",)]


def test_the_folder_may_move_with_its_link(shop):
    """The next publication writes the views again, and only them."""
    shop.publish()
    before = shop.published.resolve().name
    shop.published = shop.published.parent.rename(shop.published.parent.with_name("moved")) / "published"
    assert matches_manifest(shop.published)
    shop.publish()
    assert shop.sets() == [before] and matches_manifest(shop.published) and shop.users_of_view() == [("anna",)]


def linked_folder(published):
    """The folder by another name."""
    link = published.parent.with_name("linked")
    link.symlink_to(published.parent)
    return link / published.name


def linked_link(published):
    """The link by another name."""
    link = published.parent.parent / "www" / "marts"
    link.parent.mkdir()
    link.symlink_to(os.path.relpath(published, link.parent))
    return link


def linked_sets(published):
    """The folder of the sets on another disk."""
    sets = published.with_name("published.sets")
    sets.rename(published.parent.with_name("disk"))
    sets.symlink_to("../disk")
    return published


@pytest.mark.fault("Machine", "published path through links", "read and replaced as without them")
@pytest.mark.parametrize("reach", [linked_folder, linked_link, linked_sets])
def test_a_set_that_is_reached_by_a_link_is_replaced_and_erased_from(shop, reach):
    shop.publish("('anna', 'newborn', 0.8), ('bea', 'infant', 0.9)")
    link = paths.published(reach(shop.published))
    shop.published, real = link, shop.published
    shop.publish("('anna', 'newborn', 0.7), ('bea', 'infant', 0.9)")
    assert link == real and link.is_symlink() and shop.users_of_view() == [("anna",), ("bea",)]
    time.sleep(1)  # sets are named by the second
    shop.connection.execute("create table erased as select 'bea' as user_id")
    unpublish(shop.connection, link, "erased")
    assert search_published(shop.connection, link, "erased") == 5
    assert len(shop.sets()) == 1 and matches_manifest(link) and shop.users_of_view() == [("anna",)]


def test_a_link_into_the_sets_of_another_link_is_left_alone(shop):
    shop.publish()
    other = shop.published.parent.with_name("other") / "published"
    other.parent.mkdir()
    other.symlink_to(shop.published.resolve())
    with pytest.raises(ValueError, match="LS-PUB-001"):
        refuse_foreign(paths.published(other))


def test_a_search_that_finds_no_file_of_a_published_set_fails(shop):
    shop.publish()
    shop.connection.execute("create table erased as select 'bea' as user_id")
    shutil.rmtree(shop.published.resolve())
    with pytest.raises(ValueError, match="is published, but no file was found"):
        search_published(shop.connection, shop.published, "erased")


@pytest.mark.fault("State", "erased user in several published files, one unreadable", "LS-ERA-002 names all")
def test_a_search_names_all_files_that_hold_a_user_or_cannot_be_read(shop):
    shop.publish("('anna', 'newborn', 0.8), ('bea', 'infant', 0.9)")
    shop.connection.execute("create table erased as select 'bea' as user_id")
    (shop.published / "stages.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError) as raised:
        search_published(shop.connection, shop.published, "erased")
    found = str(raised.value).split("; ")
    assert [fault.split(" (")[0].split("/")[-1] for fault in found] == [
        "stages.parquet cannot be read",
        "2017-02.parquet still contains the user",
        "user_stages.parquet still contains the user",
    ]


def test_where_a_run_has_published_a_search_without_files_fails(shop):
    """Such as one beside another link than that of the job."""
    shop.connection.execute("create table erased as select 'bea' as user_id")
    assert search_published(shop.connection, shop.published, "erased", has_published=False) == 0
    with pytest.raises(ValueError, match=r"no file was found by .* set LIFE_STAGE_PUBLISHED"):
        search_published(shop.connection, shop.published, "erased", has_published=True)


def test_files_that_no_manifest_names_stay_when_sets_are_removed(shop):
    shop.publish()
    first, sets = shop.published.resolve(), shop.published.with_name("published.sets")
    (sets / "mine").mkdir()
    for file in (first / "notes.txt", sets / "mine" / "user_stages.parquet"):
        file.write_text("precious")
    for name in ("bea", "cleo", "dora"):
        shop.publish(f"('{name}', 'newborn', 0.8)")
    assert [path.name for path in first.iterdir()] == ["notes.txt"]
    assert [path.name for path in (sets / "mine").iterdir()] == ["user_stages.parquet"]
    assert len(shop.sets()) == 4


def test_the_view_file_is_written_in_the_format_of_duckdb_1_0(shop):
    shop.publish()
    header = (shop.published / "life_stage.duckdb").read_bytes()[:20]
    assert header[8:12] == b"DUCK"
    assert int.from_bytes(header[12:20], "little") == 64, "the storage version that DuckDB 1.0 introduced"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.1.3", "1.4.4"])
def test_an_older_duckdb_reads_the_views(shop, tmp_path, version):
    shop.publish(descriptions={"user_stages": {"": "One row per user.", "stage": "The stage."}})
    venv.create(tmp_path / "old", with_pip=True)
    python = tmp_path / "old" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"duckdb=={version}"], check=True)
    command = [python, "-c", OLD_READER, shop.published / "life_stage.duckdb"]
    read = subprocess.run(command, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    assert "anna" in read.stdout
