"""Privacy guarantees: pseudonyms by a secret key, and a target that reaches no other file."""

import csv
import hmac

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from project import copy_shop

from life_stage.engine.engine_errors import explained
from life_stage.engine.pseudonyms import padded, pseudonym

KEY = {"LIFE_STAGE_ID_KEY": "a key of thirty-two random bytes"}
STAGING = "path:seeds path:models/staging"
SANDBOXED = {"LIFE_STAGE_TARGET": "sandboxed", **KEY}


@pytest.fixture(scope="module")
def keyed(base, tmp_path_factory):
    """A shop built with a key, sandboxed, uncompressed, one month behind a link: copy it, never change it."""
    shop = copy_shop(base, tmp_path_factory.mktemp("keyed") / "shop")
    for path in shop.folder.glob("warehouse.duckdb*"):
        path.unlink()
    shop.published.unlink()
    month = shop.source / "actions" / "month=2016-08"
    month.rename(shop.folder / "elsewhere [1]")
    month.symlink_to("../../elsewhere [1]")
    profiles = shop.folder / "profiles.yml"
    profiles.write_text(
        profiles.read_text().replace(
            "config_options:\n", "config_options:\n        force_compression: uncompressed\n", 1
        )
    )
    shop.build(environment=SANDBOXED)
    return shop


def files_holding(shop, text: str) -> list[str]:
    """Names of all files of the shop, except its source, that contain the bytes of the text."""
    paths = [path for path in shop.folder.rglob("*") if path.is_file() and shop.source not in path.parents]
    return [str(path.relative_to(shop.folder)) for path in paths if text.encode() in path.read_bytes()]


@settings(deadline=None)  # busy machines are slow; the test is not about time
@given(st.text(min_size=1).filter(lambda text: "\0" not in text), st.binary(min_size=16, max_size=100))
def test_a_pseudonym_is_the_hmac_that_python_knows(user_id, key):
    with duckdb.connect() as session:
        inner, outer = padded(key)
        sql = "select left(sha256($1 || unhex(sha256($2 || encode($3)))), 32)"
        ((result,),) = session.execute(sql, [outer, inner, user_id]).fetchall()
    assert result == hmac.new(key, user_id.encode(), "sha256").hexdigest()[:32] == pseudonym(key, user_id)


def test_no_user_id_of_the_source_gets_past_staging(keyed, base):
    """Every text column of every table holds pseudonyms, for the same users as without a key."""
    raw = {user for (user,) in base.query("select distinct user_id from stg_actions")}
    made = {pseudonym(KEY["LIFE_STAGE_ID_KEY"].encode(), user) for user in raw}
    assert {user for (user,) in keyed.query("select distinct user_id from stg_actions")} == made
    holders = "select table_name from duckdb_columns() where column_name = 'user_id' and schema_name = 'main'"
    tables = [table for (table,) in keyed.query(holders)]
    assert len(tables) > 20
    for table in tables:
        users = {user for (user,) in keyed.query(f'select distinct user_id from "{table}" where user_id is not null')}
        assert users.isdisjoint(raw), table
    result = duckdb.read_parquet(str(keyed.published / "user_stages.parquet")).project("user_id").fetchall()
    assert result and {user for (user,) in result} <= made


def test_no_file_contains_the_key(keyed):
    """Nor the padded keys of the connection; the search finds existing texts."""
    key = KEY["LIFE_STAGE_ID_KEY"]
    some_user = keyed.query("select min(user_id) from stg_actions")[0][0]
    assert "warehouse.duckdb" in files_holding(keyed, some_user)
    assert any(name.startswith("target/run") for name in files_holding(keyed, "id_key_outer"))
    for secret in (key, *(pad.hex() for pad in padded(key.encode())), key.encode().hex()):
        assert files_holding(keyed, secret) == []
    for pad in padded(key.encode()):
        assert files_holding(keyed, pad.decode()) == []


def test_an_id_is_known_again_by_who_holds_the_key(keyed, base):
    """Also for a user with a consent only."""
    consents = "select 'somebody' as user_id, 'life_stages' as purpose, '2016-01-01' as granted_at, '' as withdrawn_at"
    keyed.write("consents.csv", consents)
    finished = keyed.operate("pseudonyms", environment=SANDBOXED)
    assert (keyed.folder / "pseudonyms.csv").stat().st_mode & 0o777 == 0o600
    assert finished.exit_code == 0, finished.output
    with (keyed.folder / "pseudonyms.csv").open() as file:
        rows = {row["user_id"]: row["pseudonym"] for row in csv.DictReader(file)}
    raw = "select user_id from stg_action_rows where user_id is not null union select user_id from stg_children"
    assert set(rows) == {user for (user,) in base.query(raw)} | {"somebody"}
    assert all(pseudonym(KEY["LIFE_STAGE_ID_KEY"].encode(), user) == result for user, result in rows.items())
    (keyed.folder / "pseudonyms.csv").unlink()
    (keyed.source / "consents.csv").unlink()
    refused = keyed.operate("pseudonyms")
    assert refused.exit_code == 1 and "LS-PRI-002" in refused.output


@pytest.mark.slow
def test_another_key_or_none_stops_the_run(keyed, shop):
    """Under two keys every user would count twice."""
    before = keyed.contents()
    for environment in ({}, {"LIFE_STAGE_ID_KEY": "another key of thirty-two bytes."}):
        finished = keyed.start(only=STAGING, environment=environment)
        assert finished.exit_code != 0 and "LS-STA-002" in finished.output
        erased = keyed.operate("erase", "42", environment=environment)
        assert erased.exit_code != 0 and "LS-STA-002" in erased.output
    assert keyed.contents() == before
    finished = shop.start(only=STAGING, environment=KEY)
    assert finished.exit_code != 0 and "LS-STA-002" in finished.output


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        pytest.param("LS-PRI-001", {"LIFE_STAGE_ID_KEY": "short"}, marks=pytest.mark.slow),
        ("LS-PRI-002", {"LIFE_STAGE_TARGET": "sandboxed"}),
    ],
)
def test_a_key_that_is_too_short_or_missing_stops_the_run(shop, code, environment):
    before = shop.contents()
    finished = shop.start(only=STAGING, environment=environment)
    assert finished.exit_code != 0 and code in finished.output
    assert shop.contents() == before


def test_engine_errors_of_a_broken_line_do_not_show_the_line():
    predicted = "CSV Error on Line: 7\nOriginal Line: 42,anna@example.org\nExpected Number of Columns: 5"
    assert explained(predicted).startswith("LS-SRC-006") and "anna" not in explained(predicted)


def test_without_a_key_the_default_target_warns_of_plain_ids(shop):
    assert "LS-PRI-003" in shop.build(only="path:seeds").output


ESCAPES = {
    "reads_a_file": "select * from read_text('{outside}/secret.txt')",
    "reads_beside_the_source": "select * from read_text('source/../../secret.txt')",
    "lists_files": "select * from glob('{outside}/*')",
    "writes_a_file": "copy (select 1 as x) to '{outside}/loot.csv'",
    "attaches_a_database": "attach '{outside}/loot.duckdb' as loot",
    "loads_an_extension": "install httpfs from '{outside}'",
    "exports_all": "export database '{outside}/loot'",
    "opens_itself": "set enable_external_access = true",
    "asks_the_network": "select * from read_csv('http://127.0.0.1:9/loot.csv')",
}


@pytest.mark.slow
def test_sql_on_the_sandboxed_target_reaches_no_other_file(keyed, tmp_path):
    """Each way out of the sandbox, as a hook of a separate model, fails; on the default target it works."""
    shop = copy_shop(keyed, tmp_path / "shop")
    (tmp_path / "secret.txt").write_text("secret")
    folder = shop.folder / "models" / "staging"
    for name, sql in ESCAPES.items():
        hook = sql.format(outside=tmp_path)
        (folder / f"{name}.sql").write_text(f'{{{{ config(pre_hook="{hook}") }}}}\nselect 1 as x\n')
    words = ("run", "--select", *ESCAPES)
    finished = shop.dbt(*words, environment=SANDBOXED)
    assert f"ERROR={len(ESCAPES)} " in finished.output, finished.output[-3000:]
    refusals = ("disabled by configuration", "configuration has been locked")
    assert sum(finished.output.count(refusal) for refusal in refusals) >= len(ESCAPES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.txt", "shop"]
    open_target = shop.dbt(*words, environment=KEY)
    assert "ERROR=3 " in open_target.output, "only the network, the extension and the setting fail elsewhere too"


@pytest.mark.slow
def test_on_the_sandboxed_target_erasure_and_consents_use_pseudonyms(keyed, base, tmp_path):
    shop, key = copy_shop(keyed, tmp_path / "shop"), KEY["LIFE_STAGE_ID_KEY"].encode()
    raw, other = [u for (u,) in base.query("select user_id from user_stages group by 1 order by 1 limit 2")]
    erased, silent = pseudonym(key, raw), pseudonym(key, other)
    finished = shop.operate("erase", raw, environment=SANDBOXED)  # by the id of the shop
    assert finished.exit_code == 0, finished.output[-3000:]
    assert "erased 1 of 1 users" in finished.output and "searched and not found" in finished.output
    digests = "select count(*) from erased_users where user_digest = sha256(concat(salt, '{}'))"
    assert shop.query(digests.format(erased)) == [(1,)] and shop.query(digests.format(raw)) == [(0,)], (
        "ids can be tried"
    )
    assert shop.query("select count(*) from erased_users") == [(1,)]
    again = shop.operate("erase", silent, environment=SANDBOXED)  # or by the pseudonym in a table
    assert "erased 1 of 1 users" in again.output
    other = base.query("select user_id from user_stages group by 1 order by 1 limit 1 offset 2")[0][0]
    silent = pseudonym(key, other)
    everybody = "select user_id from '{0}/actions/*/*.parquet' union select user_id from '{0}/children.parquet'"
    shop.write(
        "consents.parquet",
        "select user_id, 'life_stages' as purpose, '2016-01-01' as granted_at, null::text as withdrawn_at"
        f" from ({everybody.format(shop.source)}) where user_id::varchar <> '{other}'",
    )
    finished = shop.start(only=STAGING, environment=SANDBOXED)
    assert finished.exit_code == 0, finished.output[-3000:]
    for table in ("stg_action_rows", "stg_consents", "birth_month_filter", "user_stages"):
        there = {user for (user,) in shop.query(f"select distinct user_id from {table}")}
        assert {erased, silent}.isdisjoint(there) and len(there) > 100, table
    assert set(files_holding(shop, erased)) <= {"logs/dbt.log", "target/run_results.json"}
