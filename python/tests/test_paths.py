"""Places: every spelling is the same place, and the files of a source are those there are, whatever their names."""

import os
import unicodedata
from pathlib import Path

import duckdb
import pytest

from life_stage import paths
from life_stage.paths import sql_literal

NAMES = [
    "plain",
    "shop [2017]",
    "a*b",
    "what?",
    "{a,b}",
    "it's",
    'say "hi"',
    "[!x]",
    "a__month__b",
    "%41 #1;",
    "岁\u202e",
]
NAMES += [unicodedata.normalize(form, "größe") for form in ("NFC", "NFD")]
SPELLINGS = ["~/shop", "shop", "./shop/", "../home/shop", "other/../shop", "linked", "{}/home/shop//", "{}/home/./shop"]


@pytest.fixture
def source(tmp_path, monkeypatch):
    """An empty source, by the environment."""
    folder = (tmp_path / "source").resolve()
    folder.mkdir()
    monkeypatch.setenv("LIFE_STAGE_SOURCE", str(folder))
    return folder


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x\n1\n")


@pytest.mark.fault("Settings", "source spelled with ~, ., .., links, slashes at its end", "one place")
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_one_place(tmp_path, monkeypatch, spelling):
    home = tmp_path.resolve() / "home"
    for folder in ("shop", "other"):
        (home / folder).mkdir(parents=True)
    (home / "linked").symlink_to("shop")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    for name in ("SOURCE", "WAREHOUSE", "PUBLISHED"):
        monkeypatch.setenv(f"LIFE_STAGE_{name}", spelling.format(tmp_path))
    assert {paths.source(), paths.warehouse()} == {home / "shop"} and paths.source_directory() == str(home / "shop")
    assert spelling == "linked" or paths.published() == home / "shop"
    assert paths.shown(paths.source()) == "shop"


def test_without_variables_the_places_are_those_of_the_profile(monkeypatch):
    for name in ("SOURCE", "WAREHOUSE", "PUBLISHED"):
        monkeypatch.setenv(f"LIFE_STAGE_{name}", "")
    places = [paths.shown(place()) for place in (paths.source, paths.warehouse, paths.published)]
    assert places == ["data/demo", "warehouse/life_stage.duckdb", "published"]


def test_a_remote_source_stays_as_it_is_given(monkeypatch):
    monkeypatch.setenv("LIFE_STAGE_SOURCE", "s3a://bucket/shop/")
    assert paths.source_directory() == "s3a://bucket/shop"
    assert set(paths.source_identity().values()) == {"s3a://bucket/shop"}


FILES = {
    "a folder with its folders": (["actions/a.csv", "actions/b/c/D.PARQUET", "actions/e.csv.gz"], {}),
    "one file": (["actions.parquet"], {}),
    "another table": (["actions.csv"], {"actions_old/a.csv": "", "items.csv": "", "actions.parquet/part.csv": ""}),
    "hidden and unfinished": (["actions/a.csv"], {"actions/.b.xlsx": "", "actions/_tmp/c": "", "actions/_SUCCESS": ""}),
    "a linked folder": (["actions/far/a.csv"], {"actions/far": "../elsewhere", "elsewhere/a.csv": ""}),
    "a linked table": (["actions/a.csv"], {"actions": "elsewhere", "elsewhere/a.csv": ""}),
    "a linked file": (["actions/a.csv"], {"actions/a.csv": "../a.csv", "a.csv": ""}),
    "a cycle": (
        ["actions/a.csv", "actions/b/c.csv"],
        {"actions/b/up": "..", "actions/self": "self/x", "actions/to": "."},
    ),
    "two ways to one folder": (["actions/month/a.csv"], {"actions/latest": "month"}),
    "two ways to one file": (["actions/b.csv"], {"actions/a.csv": "b.csv"}),
    "nothing": ([], {}),
}


@pytest.mark.fault("Files and columns", "links to files and folders, two of one place, a cycle", "each file read once")
@pytest.mark.parametrize(("expected", "more"), FILES.values(), ids=FILES)
def test_the_files_of_a_table_are_found_through_links(source, expected, more):
    links = {name: target for name, target in more.items() if target}
    write(
        source, *(name for name in [*more, *expected] if not any(f"{name}/".startswith(f"{link}/") for link in links))
    )
    for name, target in links.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).symlink_to(target)
    found, wrong = paths.source_files("actions")
    if "actions/self" in links:  # leads to itself
        assert found.pop(found.index("actions/self")) and wrong.pop().startswith("LS-SRC-004 actions/self")
    assert (found, wrong) == (expected, [])


WRONG = {
    "neither Parquet nor CSV": lambda folder: (folder / "actions.xlsx").touch(),
    "a file without a kind": lambda folder: (folder / "actions").touch(),
    "a pipe": lambda folder: os.mkfifo(folder / "actions.csv"),
    "a link to nothing": lambda folder: (folder / "actions.csv").symlink_to("lost.csv"),
    "a table that is a link to nothing": lambda folder: (folder / "actions").symlink_to("lost"),
    "a link to itself": lambda folder: (folder / "actions.csv").symlink_to("actions.csv"),
    "bytes that are no UTF-8": lambda folder: Path(os.fsdecode(os.fsencode(folder) + b"/actions.\xff.csv")).touch(),
}


@pytest.mark.fault(
    "Files and columns", "link to nothing, pipe, name that is not UTF-8", "LS-SRC-004 names it, no change"
)
@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_what_is_no_data_file_is_named(source, make):
    make(source)
    _, (message,) = paths.source_files("actions")
    assert message.startswith("LS-SRC-004 ") and "actions" in message
    assert message.encode(), "it can be printed"


def test_a_folder_that_cannot_be_listed_is_named(source, monkeypatch):
    write(source, "actions/a.csv")

    def deny(place):
        raise PermissionError(13, "Permission denied", place)

    monkeypatch.setattr(os, "scandir", deny)
    assert paths.source_files("actions") == (
        [],
        [f"LS-SRC-004 {source}/actions cannot be listed: make it readable (Permission denied)"],
    )


@pytest.mark.fault(
    "Files and columns", "wildcards, quotes, blanks, accents, placeholders in names", "the file is read, and no other"
)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_is_read_and_no_other(tmp_path, monkeypatch, name):
    """Beside it lie files that it matches as a pattern."""
    folder = tmp_path.resolve() / name
    monkeypatch.setenv("LIFE_STAGE_SOURCE", str(folder))
    for other in ("shop 2", "ab", "axb", "what!", "a", "b", "y", "!"):
        write(tmp_path / other, "actions/what!.csv", f"actions/{other}.csv")
    write(folder, "actions/axb.csv", f"actions/{name}.csv")
    (pattern,) = paths.source_patterns([f"actions/{name}.csv"])
    with duckdb.connect() as connection:
        found = connection.execute(
            f"select filename from read_csv([{sql_literal(pattern)}], filename = true)"
        ).fetchall()
    assert found == [(f"{folder}/actions/{name}.csv",)]
    assert paths.source_files("actions")[0] == sorted(["actions/axb.csv", f"actions/{name}.csv"])


def test_versions_of_files_are_those_that_the_engine_reads(source):
    """Warehouses hold versions that DuckDB composed."""
    write(source, "actions/a.csv")
    sql = "select concat_ws(' ', size, epoch_us(last_modified)) from read_blob(?)"
    ((version,),) = duckdb.execute(sql, [f"{source}/actions/a.csv"]).fetchall()
    assert paths.file_versions(["actions/a.csv", "gone.csv"]) == {"actions/a.csv": version, "gone.csv": "gone"}


def test_links_that_lead_to_files_are_named(source):
    write(source, "actions/a.csv", "elsewhere/b/c.csv")
    (source / "actions" / "far").symlink_to("../elsewhere")
    (source / "elsewhere" / "d.csv").symlink_to("b/c.csv")
    names, _ = paths.source_files("actions")
    assert names == ["actions/a.csv", "actions/far/b/c.csv"]
    assert paths.links_to(names, source) == ["actions/far"]


@pytest.mark.parametrize("targets", [{"published": "published"}, {"published": "a", "a": "published"}])
def test_a_published_link_that_leads_to_itself_does_not_hang(tmp_path, targets):
    for name, target in targets.items():
        (tmp_path / name).symlink_to(target)
    assert not paths.is_link_to_set(paths.published(tmp_path / "published"))


@pytest.mark.fault("Machine", "report, run summary or list of backups cannot be written", "LS-RUN-010")
@pytest.mark.parametrize("taken", ["page.html", "page.html.new"])
def test_a_file_that_cannot_be_written_has_a_code(tmp_path, taken):
    (tmp_path / taken / "precious").mkdir(parents=True)
    with pytest.raises(ValueError, match=f"LS-RUN-010 {tmp_path}/page.html cannot be written: "):
        paths.write_whole(tmp_path / "page.html", "text")
    assert (tmp_path / taken / "precious").is_dir()


def test_a_stricter_umask_of_the_caller_stays():
    before = os.umask(0o077)
    try:
        paths.keep_private()
        assert os.umask(0) == 0o077
        os.umask(0o002)
        paths.keep_private()
        assert os.umask(0) == 0o027
    finally:
        os.umask(before)
