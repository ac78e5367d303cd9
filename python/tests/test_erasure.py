"""Erasure and consent: erased users leave no row and no byte, other users and months are unchanged."""

import os
import pickle
import shutil
import signal
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from project import (
    Shop,
    assert_same,
    assert_stops,
    copy_shop,
    made_once,
    make_shop,
    pin_model,
)

FUNCTIONS = "life_stage.operations.erasure"
# Tables about runs, not about users.
OF_RUNS = {"model_runs", "build_log", "published_marts"}
CONSENTS = """
    select user_id, 'life_stages' as purpose, timestamp '2016-01-01' as granted_at, null::timestamp as withdrawn_at
    from (select user_id from '{source}/actions/*/*.parquet' union select user_id from '{source}/children.parquet')
"""
NAME = "Zoë of 7c1f-9e02"  # an id that no other text contains by chance
LETTERS = b"7c1f-9e02"  # of it, however a file writes the others
WORD = "zqxvzoeskind"  # of a search made only by this user
MODELS = ["user_month_features", "stage_scores", "birth_month_filter", "dynamic_fusion"]
MODELS += ["presence_filter", "household_stages", "household_children"]


def holding(shop: Shop, user: str, column: str = "user_id") -> dict[str, int]:
    """The number of the user's rows in each table."""
    sql = f"select table_name from duckdb_columns() where column_name = '{column}' and table_oid in " \
        "(select table_oid from duckdb_tables())"  # fmt: skip
    # Over one connection: to open the file takes a tenth of a second.
    with duckdb.connect(shop.warehouse, read_only=True) as connection:
        rows = {
            table: connection.execute(f"select count(*) from {table} where {column} = '{user}'").fetchall()[0][0]
            for (table,) in connection.execute(sql).fetchall()
        }
    return {table: n for table, n in rows.items() if n}


def published_rows(shop: Shop, user: str) -> dict[str, int]:
    """The number of the user's rows in each published file of any set."""
    files = [file for file in shop.published.with_name("published.sets").rglob("*.parquet")]
    frames = {str(file.relative_to(shop.folder)): pd.read_parquet(file) for file in files}
    return {name: int((rows["user_id"] == user).sum()) for name, rows in frames.items() if "user_id" in rows}


def uncompress(shop: Shop) -> None:
    """Rewrite the warehouse and the published files without compression, so that bytes show their content."""
    plain = shop.folder / "plain.duckdb"
    with duckdb.connect(config={"force_compression": "uncompressed"}) as connection:
        connection.execute(f"attach '{shop.warehouse}' as warehouse; attach '{plain}' as plain")
        connection.execute("copy from database warehouse to plain")
    plain.replace(shop.warehouse)
    show_published(shop)
    profiles = shop.folder / "profiles.yml"
    text = profiles.read_text()
    assert text.count("        TimeZone: UTC\n") == 1
    profiles.write_text(text.replace("TimeZone: UTC\n", "TimeZone: UTC\n        force_compression: uncompressed\n"))


def show_published(shop: Shop) -> None:
    for file in shop.published.with_name("published.sets").rglob("*.parquet"):
        plain = file.with_suffix(".plain")
        duckdb.sql(f"copy (from '{file}') to '{plain}' (format parquet, compression uncompressed)")
        plain.replace(file)


def files_naming(shop: Shop, user: str) -> set[str]:
    """The warehouse's and the published files in whose bytes the id is found."""
    files = [*shop.folder.glob("warehouse.duckdb*"), *shop.folder.glob("published*")]
    files += shop.published.with_name("published.sets").rglob("*")
    return {file.name for file in files if file.is_file() and user.encode() in file.read_bytes()}


def tables_naming(shop: Shop, word: str) -> set[str]:
    """The tables with the word in a text column."""
    sql = "select table_name, column_name from duckdb_columns() where data_type = 'VARCHAR' and schema_name = 'main' " \
        "and table_name in (select table_name from duckdb_tables())"  # fmt: skip
    with duckdb.connect(shop.warehouse, read_only=True) as connection:
        return {
            table
            for table, column in connection.execute(sql).fetchall()
            if connection.execute(f"select 1 from {table} where contains({column}, '{word}') limit 1").fetchall()
        }


def kill(shop: Shop, moment: str, name: str, user: str) -> None:
    """Run an erasure and kill it before or after a function that it calls."""
    done = shop.operate("erase", user, environment={"LIFE_STAGE_KILL_FUNCTION": f"{moment} {FUNCTIONS}.{name}"})
    assert done.exit_code == -signal.SIGKILL, done.output


def renamed(base: Shop, folder: Path) -> Shop:
    """Three months of the base, in which one registered user of a known stage is called NAME, and their run."""
    (user,) = base.query(
        "select user_id from stg_actions where month in (date '2016-12-01', date '2017-01-01') and user_id in"
        " (select user_id from user_stages where probability > 0.9 and user_id in (select user_id from stg_children))"
        " group by user_id order by count(distinct month) desc, count(*) desc, user_id limit 1"
    )[0]
    shop = make_shop(folder, like=base)
    shop.source.mkdir()
    pin_model(shop, of=base)
    shop.add_months(base, ["2016-11", "2016-12", "2017-01"])
    for name in ("items.parquet", "children.parquet"):
        shutil.copy2(base.source / name, shop.source)
    for file in [*shop.source.glob("actions/*/*.parquet"), shop.source / "children.parquet"]:
        is_theirs = f"user_id::varchar = '{user}'"
        changed = f"case when {is_theirs} then '{NAME}' else user_id::varchar end as user_id"
        if "actions" in file.parts:
            changed += (
                f", case when {is_theirs} and search_term is not null then '{WORD}' else search_term end as search_term"
            )
        duckdb.sql(f"copy (select * replace ({changed}) from '{file}') to '{file}.new' (format parquet)")
        file.with_name(file.name + ".new").replace(file)
    shop.build()
    return shop


def erase(base: Shop, folder: Path) -> None:
    """An erasure killed twice and run again, then a run with a touched file; observations go into a file."""
    shop = renamed(base, folder)
    uncompress(shop)
    shop.published.with_name("published.html").write_text(f"User {NAME}, child 1")
    copy_shop(shop, folder / "before")
    seen = {"bytes": files_naming(shop, NAME), "word": tables_naming(shop, WORD)}
    with duckdb.connect(shop.warehouse) as connection:  # as a run leaves it that was killed while it read new texts
        connection.execute("create table text_ages__dbt_tmp as select text from text_ages")
    kill(shop, "after", "unpublish", NAME)
    seen["half"] = {"tables": holding(shop, NAME), "published": published_rows(shop, NAME)}
    kill(shop, "before", "rewrite", NAME)
    for path in leftovers(shop):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"User {NAME}, child 1")
    seen["finished"] = shop.operate("erase", NAME, "nobody's")
    show_published(shop)
    seen["bytes_after"] = files_naming(shop, NAME) | files_naming(shop, WORD)
    seen["word_after"] = tables_naming(shop, WORD)  # a run would rebuild some of the tables
    seen["logged"] = [
        file.name
        for folder in ("logs", "target")
        for file in (shop.folder / folder).rglob("*.*")
        if file.is_file() and LETTERS in file.read_bytes()
    ]
    seen["leftovers"] = [path.name for path in leftovers(shop) if path.exists()]
    seen["sets"] = len(list(shop.published.with_name("published.sets").iterdir()))
    os.utime(next((shop.source / "actions" / "month=2017-01").iterdir()))
    seen["run"] = shop.start()
    (folder / "seen.pickle").write_bytes(pickle.dumps(seen))


def leftovers(shop: Shop) -> list[Path]:
    """Files with old rows that killed runs and restores leave beside the warehouse."""
    names = (
        "warehouse.duckdb.tmp/duckdb_temp_storage-0.tmp",
        "warehouse.duckdb.restoring/warehouse.duckdb",
        "published.html.new",
    )
    names += ("published_explain.html", "published_explain.html.new")
    return [shop.folder / name for name in names]


@pytest.fixture(scope="module")
def erasure(base, tmp_path_factory):
    """Observations of an erasure, with the shop before it and after the next run."""
    folder = made_once(tmp_path_factory, "erasure", lambda folder: erase(base, folder))
    return pickle.loads((folder / "seen.pickle").read_bytes()) | {
        "shop": Shop(folder),
        "before": Shop(folder / "before"),
    }


def test_an_erased_user_is_in_no_table_and_no_published_file(erasure):
    shop, before = erasure["shop"], holding(erasure["before"], NAME)
    assert erasure["finished"].exit_code == 0, erasure["finished"].output[-3000:]
    assert {"stg_action_rows", "birth_month_filter_cells", "dynamic_fusion_cells", "stg_child_rows"} < set(before)
    assert sum(n > 0 for n in published_rows(erasure["before"], NAME).values()) >= 3
    assert erasure["run"].exit_code == 0, erasure["run"].output[-3000:]
    assert holding(shop, NAME) == {}
    assert set(published_rows(shop, NAME).values()) == {0}


def test_no_byte_of_the_files_names_an_erased_user(erasure):
    assert {"warehouse.duckdb", "user_stages.parquet", "2017-01.parquet", "published.html"} <= erasure["bytes"]
    assert erasure["bytes_after"] == set() and erasure["leftovers"] == []


def test_no_log_of_an_erasure_names_the_user(erasure):
    assert erasure["logged"] == []


@pytest.mark.slow
def test_a_search_made_only_by_an_erased_user_is_erased_with_its_words(erasure):
    words = {"search_terms", "search_words", "text_ages", "search_term_features", "term_feature_index"}
    assert words < erasure["word"]
    assert erasure["word_after"] == tables_naming(erasure["shop"], WORD) == set()


def test_an_erasure_that_was_killed_is_finished_by_the_next_one(erasure):
    assert erasure["half"]["tables"] == holding(erasure["before"], NAME), "the first kill came after the transaction"
    assert set(erasure["half"]["published"].values()) == {0}
    assert "searched and not found" in erasure["finished"].output
    assert erasure["sets"] == 1


def test_an_unknown_user_is_no_error_and_is_logged(erasure):
    assert "not found, but excluded from now on: 2 users" in erasure["finished"].output


def test_an_erased_user_does_not_come_back_with_the_same_files(erasure):
    shop = erasure["shop"]
    sql = "select count(*), count(action_id), count(search_term) from stg_rejected_actions where reason = 'user_erased'"
    for month in ("2016-12", "2017-01"):  # the second was read again
        file = f"{shop.source}/actions/month={month}/*.parquet"
        (n_rows,) = duckdb.sql(f"select count(*) from '{file}' where user_id = '{NAME}'").fetchall()[0]
        assert shop.query(f"{sql} and month = date '{month}-01'") == [(n_rows, 0, 0)] and n_rows > 0
    sql = "select count(*) from stg_rejected_registrations where reason = 'user_erased' and id is null"
    assert shop.query(sql) == [(1,)]


def test_an_erasure_rebuilds_no_month(erasure):
    shop, before = erasure["shop"], erasure["before"]
    run = shop.query("select n_months_read, n_months_updated from model_runs order by started_at desc limit 1")
    assert run == [(1, 0)]
    for model in MODELS:
        assert shop.run_of_months(model) == before.run_of_months(model)
    assert_same(shop, before, ["month_calendar"], ignore=("n_actions", "n_rejected", "n_duplicates"))


def test_an_erasure_changes_no_other_user(erasure):
    tables = [table for table in holding(erasure["before"], NAME) if table != "stg_action_rows"]
    assert_same(erasure["shop"], erasure["before"], [*tables, "stg_actions"], where=f"user_id <> '{NAME}'")


@pytest.mark.parametrize("users", [[" "], pytest.param([], marks=pytest.mark.slow)])
def test_an_erasure_without_a_user_is_an_error(shop, users):
    before = shop.contents()
    finished = shop.operate("erase", *users)
    assert finished.exit_code != 0 and "LS-ERA-001" in finished.output
    assert shop.contents() == before


@pytest.mark.fault("Settings", "erasure from a warehouse without users", "LS-ERA-003")
def test_an_erasure_that_has_nothing_to_search_fails(bare_shop):
    finished = bare_shop.operate("erase", "42")
    assert finished.exit_code != 0 and "LS-ERA-003" in finished.output and "not found" not in finished.output


@pytest.mark.fault("State", "erasure with copies, sets and damaged files left by others", "LS-ERA-002 names all places")
def test_an_erasure_names_every_place_where_it_fails_and_copies_that_hold_the_user(shop):
    """Once they are removed, it ends; a backup from before it brings nobody back."""
    ((user,),) = shop.query("select min(user_id) from user_stages")
    assert shop.run("life-stage", "backup", "--into", "kept").exit_code == 0
    (copy,) = (shop.folder / "kept").glob("*.duckdb")
    mine = shop.published.with_name("published.sets") / "mine"
    mine.mkdir()
    shutil.copy(shop.published / "user_stages.parquet", mine / "theirs.parquet")
    (mine / "damaged.parquet").write_text("PAR1")
    failed = shop.operate("erase", user)
    words = " ".join(failed.output.split())
    assert failed.exit_code != 0 and "LS-ERA-002 published files: " in words and "searched and not found" not in words
    assert f"{mine}/damaged.parquet cannot be read" in words and f"{mine}/theirs.parquet still contains" in words
    assert f"older copies, which may hold them: {copy}: delete" in words
    shutil.rmtree(mine)
    assert "searched and not found" in shop.operate("erase", user).output
    sets = shop.published.with_name("published.sets").rename(shop.folder / "elsewhere")
    shop.published.rename(shop.folder / "link")
    failed = shop.operate("erase", user)
    assert failed.exit_code != 0 and "a run has published, but no file was found" in " ".join(failed.output.split())
    (shop.folder / "link").rename(shop.published)
    sets.rename(shop.published.with_name("published.sets"))
    restored = shop.operate("restore", str(copy))
    assert restored.exit_code == 0 and "LS-LED-003 deleted 1 users" in restored.output
    assert holding(shop, user) == {}


@pytest.mark.fault("Machine", "files of a run", "readable by owner and group at most")
def test_files_of_a_run_are_closed_to_all_but_owner_and_group(shop):
    """Whatever the umask of the caller; no file of the source is touched."""
    os.utime(next((shop.source / "actions" / "month=2017-02").iterdir()))
    shop.published.resolve().rename(shop.folder / "lost")
    shop.build(only="+stg_action_rows published_marts")
    files = [*shop.published.with_name("published.sets").rglob("*"), shop.warehouse]
    assert len(files) > 10
    assert [file.name for file in files if file.stat().st_mode & 0o027] == []


def ask_for_consent(base: Shop, folder: Path) -> None:
    """Deliver consents, some missing, revoked or in doubt, and run the job."""
    shop = copy_shop(base, folder)
    users = [u for (u,) in shop.query("select user_id from user_stages group by 1 order by 1 limit 6")]
    never, revoked, garbled, ahead, again, same_day = users
    rows, names = CONSENTS.format(source=shop.source), ", ".join(f"'{user}'" for user in users)
    shop.write(
        "consents.csv",
        f"""
        select user_id, purpose, granted_at::varchar as granted_at, withdrawn_at::varchar as withdrawn_at from ({rows})
        where user_id::varchar not in ({names})
        union all from (values
            ({never}, 'newsletter', '2016-01-01', null),
            ({revoked}, 'life_stages', '2016-01-01', '2017-03-01'),
            ({garbled}, 'life_stages', '2016-01-01', 'yes'),
            ({ahead}, 'life_stages', '2999-03-02', null),
            ({again}, 'life_stages', '2016-01-01', '2016-05-01'),
            ({again}, 'life_stages', '2016-06-01', null),
            ({again}, 'newsletter', '2016-07-01', null),
            ({same_day}, 'life_stages', '2017-03-01 10:00:00', '2017-03-01'))
        """,
    )
    nobody = (
        "select 'nameless' as action_id, null as user_id, timestamp '2016-11-03' as occurred_at, 'search' as action"
    )
    shop.write(
        "actions/month=2016-11/nobody.csv",
        f"{nobody}, null as item_id, 'who I am' as search_term, 'session of somebody' as session_id",
    )
    os.utime(next((shop.source / "actions" / "month=2016-11").iterdir()))
    shop.build(evaluated=True)
    (folder / "users.pickle").write_bytes(pickle.dumps(users))


@pytest.fixture(scope="module")
def consent(base, tmp_path_factory):
    """The shop, the users without consent, and one who gave it again."""
    folder = made_once(tmp_path_factory, "consent", lambda folder: ask_for_consent(base, folder))
    *gone, again, same_day = pickle.loads((folder / "users.pickle").read_bytes())
    return {"shop": Shop(folder), "gone": [*gone, same_day], "again": again}


def test_a_user_without_valid_consent_is_in_no_table_and_no_published_file(consent, base):
    shop = consent["shop"]
    for user in consent["gone"]:
        assert holding(base, user)
        assert holding(shop, user) == {} and set(published_rows(shop, user).values()) == {0}
    assert set(holding(shop, consent["again"])) >= set(holding(base, consent["again"]))
    sql = "select count(*), count(user_id), count(action_id) from stg_rejected_actions where reason = 'no_consent'"
    counted = shop.query(sql)
    assert counted[0][0] > 0 and counted[0][1:] == (0, 0)


def test_a_list_can_be_cut_by_any_purpose_of_consent(consent):
    shop = consent["shop"]
    published = f"from '{shop.published}/user_consents.parquet' where purpose <> 'life_stages'"
    assert shop.query(f"select user_id, purpose {published}") == [(consent["again"], "newsletter")]
    unknown = "select count(*) from user_consents where user_id not in (select user_id from users)"
    assert shop.query(unknown) == [(0,)]


def test_with_consents_nothing_of_a_row_without_a_user_is_kept(consent):
    rows = consent["shop"].query("from stg_action_rows where source_file like '%nobody.csv'")
    texts = [text for row in rows for text in row if isinstance(text, str)]
    assert len(texts) == 2 and set(texts) > {"user_missing"}, "the file and the reason"


@pytest.mark.parametrize(
    ("name", "variables"),
    [("consents.parquet/part-0.parquet", {}), pytest.param(None, {"consents_required": True}, marks=pytest.mark.slow)],
)
def test_consents_that_are_not_found_stop_the_run(shop, name, variables):
    if name:
        shop.write(name, CONSENTS.format(source=shop.source))
    assert_stops(shop, "LS-CON-003", name or "the source has no consents", **variables)


def test_a_revoked_consent_rebuilds_no_month(consent, base):
    shop = consent["shop"]
    for model in MODELS:
        assert shop.run_of_months(model) == base.run_of_months(model)
    kept = f"user_id not in ({', '.join(consent['gone'])})"
    assert_same(shop, base, ["birth_month_filter", "birth_month_filter_cells", "user_month_features"], where=kept)


@pytest.mark.slow
@pytest.mark.fault("State", "consents revoked bit by bit", "LS-CON-001 once they are too many in 30 days")
def test_consents_withdrawn_in_30_days_add_up(base, bare_shop):
    """Five of 400 users may withdraw their consent in 30 days, and ten may not."""
    bare_shop.add_months(base, ["2016-07"])
    consents, gone = CONSENTS.format(source=base.source), []

    def run(day: str) -> str:
        left = f"user_id::varchar not in ({', '.join(map(repr, ['', *gone]))})"
        bare_shop.write("consents.csv", f"select * from ({consents}) where {left}")
        how = {"run_clock": f"2017-{day} 00:00:00", "consents_max_withdrawn_share": 0.022}
        return " ".join(bare_shop.start(only="+user_months", **how).output.split())

    run("04-01")
    users = [user for (user,) in bare_shop.query("select distinct user_id from user_months order by 1")]
    gone += users[:5]
    assert "LS-CON-004 5 users" in run("05-01")
    gone += users[5:10]
    assert "LS-CON-001 5 of" in (refused := run("05-11")) and "with 5 in the 30 days before" in refused
    assert "LS-CON-004 5 users" in run("07-01")
    assert not any(holding(bare_shop, user) for user in gone)


@pytest.mark.slow
@pytest.mark.fault("State", "half of the consents, or none", "LS-CON-001 or LS-CON-002, no change")
def test_consents_that_would_erase_many_users_or_are_missing_stop_the_run(consent, tmp_path):
    shop = copy_shop(consent["shop"], tmp_path / "shop")
    before, file = shop.contents(), shop.source / "consents.csv"
    lines = Path(file).read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: len(lines) // 2]))
    finished = shop.start()
    assert finished.exit_code != 0 and "LS-CON-001" in finished.output, finished.output[-2000:]
    file.unlink()
    finished = shop.start()
    assert finished.exit_code != 0 and "LS-CON-002" in finished.output, finished.output[-2000:]
    assert shop.contents() == before
