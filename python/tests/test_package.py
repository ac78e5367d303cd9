"""docs/package.md as a test: a host project of five models follows it, block by block."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import yaml
from conftest import generate_source
from project import PROJECT, PROJECT_FILES, SMALL, Shop

DOCUMENT = (PROJECT / "docs" / "package.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", DOCUMENT, flags=re.M | re.S)
COMMANDS = [command for language, text in BLOCKS if language == "sh" for command in text.splitlines()]
FILES = {re.match(r"(?:#|--) (\S+)\n", text)[1]: text for language, text in BLOCKS if language != "sh"}
OF_HOST = {
    "dbt_project.yml": "name: my_shop\nprofile: my_shop\nflags: { send_anonymous_usage_stats: false }\n",
    "profiles.yml": "my_shop: {outputs: {dev: {type: duckdb, path: shop.duckdb, schema: analytics}}, target: dev}\n",
    "models/users.sql": "select distinct user_id from raw.events\n",  # a name of the package too
    "models/groups.yml": "groups: [{ name: marts, owner: { name: me } }]\n",
    "macros/names.sql": "{% macro setting(name) %}{% do exceptions.raise_compiler_error(name) %}{% endmacro %}\n",
}
EVENTS = """
    select occurred_at as event_time, case action when 'click' then 'view' else action end as event_type,
        items.item_id as product_id, leaf_category as category_code, brand, price, user_id, session_id as user_session
    from '{source}/actions/*/*.parquet' as actions join '{source}/items.parquet' as items using (item_id)
    where action in ('click', 'cart', 'purchase') and {condition}
"""


@dataclass(frozen=True)
class Host:
    """A host project beside a copy of the package."""

    folder: Path

    def run(self, command: str) -> subprocess.CompletedProcess:
        """Run a command of the document in the folder; pip installs the package alone, without the network."""
        package = self.folder.parent / "life_stage"
        environment = {name: text for name, text in os.environ.items() if not name.startswith(("LIFE_STAGE_", "DBT_"))}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        environment |= {"PIP_TARGET": f"{self.folder}/site", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
        environment["PYTHONPATH"] = str(self.folder / "site")
        return subprocess.run(
            command.replace("/path/to/life_stage", str(package)),
            shell=True,
            cwd=self.folder,
            env=environment | {"DO_NOT_TRACK": "1"},
            capture_output=True,
            text=True,
            timeout=900,
        )

    def succeed(self, command: str) -> str:
        """The output of a command, which must succeed."""
        done = self.run(command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        return done.stdout

    def database(self, statement: str) -> list[tuple]:
        """The rows of a statement on the host's database."""
        with duckdb.connect(self.folder / "shop.duckdb") as connection:
            return connection.execute(statement).fetchall()

    def rows(self, table: str, condition: str = "true") -> int:
        """The number of rows of a table of the package."""
        return self.database(f"select count(*) from analytics_life_stage.{table} where {condition}")[0][0]

    def set(self, **variables) -> None:
        """Set vars of the package in the host's project file."""
        file = self.folder / "dbt_project.yml"
        project = yaml.safe_load(file.read_text(encoding="utf-8"))
        project["vars"]["life_stage"] |= variables
        file.write_text(yaml.safe_dump(project), encoding="utf-8")

    def manifest(self) -> dict:
        """The manifest of the newest command."""
        return json.loads((self.folder / "target" / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A host that has followed the document up to its last block, dbt build."""
    folder = tmp_path_factory.mktemp("package")
    package, host = folder / "life_stage", Host(folder / "host")
    for name in (*PROJECT_FILES, "python", "pyproject.toml", "LICENSE"):
        ignored = shutil.ignore_patterns("tests", "__pycache__", "*.egg-info") if name == "python" else None
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, package / name, ignore=ignored)
        else:
            package.mkdir(exist_ok=True)
            shutil.copy2(PROJECT / name, package / name)
    for name in OF_HOST | FILES:
        (host.folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = OF_HOST.get(name, "") + FILES.get(name, "").replace("/path/to/life_stage", str(package))
        (host.folder / name).write_text(text, encoding="utf-8")
    host.database("create schema raw; create table raw.events (user_id bigint)")
    assert COMMANDS[-1] == "dbt build"
    for command in COMMANDS[:-1]:
        host.succeed(command)
    return host


def test_a_host_keeps_its_names_and_its_commands(host):
    assert len([name for name in OF_HOST | FILES if name.startswith("models/") and name.endswith(".sql")]) == 5
    output = host.succeed("dbt run --select my_shop.users")  # the other tables of raw are missing
    assert "Done. PASS=3" in output and "LS-" not in output  # with the two hooks of the package
    schemas = {name for (name,) in host.database("select distinct table_schema from information_schema.tables")}
    assert schemas == {"raw", "analytics"}
    assert not [*host.folder.glob("published*"), *host.folder.glob("shop.duckdb.*")]
    manifest = host.manifest()
    models = {key.removeprefix("model."): node for key, node in manifest["nodes"].items() if key.startswith("model.")}
    own = {key: node for key, node in models.items() if key.startswith("life_stage.")}
    assert {node["schema"] for node in own.values()} == {"analytics_life_stage"}
    parents = {parent for node in own.values() for parent in node["depends_on"]["nodes"] if ".my_shop." in parent}
    assert parents == {"model.my_shop.my_events", "model.my_shop.my_items", "model.my_shop.my_children"}
    assert "model.life_stage.users" in own["life_stage.published_marts"]["depends_on"]["nodes"]
    waiting = [any(parent.startswith("model.") for parent in node["depends_on"]["nodes"]) for node in own.values()]
    assert len(own) > 150 and all(waiting), "models without parents wait for host_inputs"
    assert {node["access"] for node in own.values() if "marts" in node["fqn"]} == {"public"}
    assert not manifest["unit_tests"]


def test_a_model_that_is_no_mart_cannot_be_read(host):
    model = host.folder / "models" / "all_actions.sql"
    model.write_text("select * from {{ ref('stg_actions') }}")
    done = host.run("dbt parse")
    model.unlink()
    assert done.returncode != 0 and "protected" in done.stdout, done.stdout


@pytest.mark.slow
def test_a_selection_without_the_model_of_the_checks_is_checked_all_the_same(host):
    done = host.run("dbt run --select stages")
    assert done.returncode != 0 and "does not exist: build it: dbt build --select +host_inputs" in done.stdout, (
        done.stdout
    )


def test_commands_that_read_the_packages_own_folder_are_refused(host):
    for command in ("doctor", "run", "backup", "explain 1"):
        done = host.run(f"life-stage {command}")
        assert done.returncode == 1 and f"LS-RUN-012 life-stage {command.split()[0]} is not for" in done.stderr


@pytest.mark.slow  # five builds
def test_the_document_gives_marts_and_a_later_month_changes_them(host):
    shop = Shop(host.folder.parent / "shop")
    generate_source(shop, users=400, months=8)
    small = SMALL | {"training": {"min_users": 60, "every_months": 0}, "run_clock": "2017-02-02 00:00:00"}
    host.set(**small | {"training": {"min_user": 60}})
    events = EVENTS.format(source=shop.source, condition="occurred_at < '2017-02-02'")
    host.database(f"create or replace table raw.events as {events}")
    host.database(f"create table raw.registrations as from '{shop.source}/children.parquet'")
    failed = host.run("dbt build")
    assert failed.returncode != 0 and "LS-VAR-001 unknown var training_min_user:" in failed.stdout
    assert host.database("select count(*) from analytics.users")[0][0] > 300

    host.set(**small)
    host.succeed("dbt build")
    assert host.rows("user_stages") == host.database("select sum(n_users) from analytics.users_by_stage")[0][0] > 100
    published = os.readlink(host.folder / "published")
    assert host.database("select * from information_schema.tables where table_name like '%__dbt_%'") == []

    again = host.succeed("dbt build")
    months = re.findall(r"(\d+) months\S* in ", again)
    assert len(months) > 20 and set(months) == {"0"}
    assert os.readlink(host.folder / "published") == published
    host.succeed("dbt docs generate")

    counts = "select count(*), sum(n_rows), max(read_at) from analytics_life_stage.source_row_counts"
    before, of_nobody = host.database(counts), "select events.* replace (null as user_id) from raw.events as events"
    host.database(f"insert into raw.events {of_nobody} cross join range(3) where event_time < '2016-08-01'")
    broken = host.run("dbt build")
    assert broken.returncode != 0 and "would be rejected, most often as user_missing" in broken.stdout
    assert host.database(counts) == before
    host.database("delete from raw.events where user_id is null")

    host.set(**small | {"run_clock": "2017-03-02 00:00:00"})
    events = EVENTS.format(source=shop.source, condition="occurred_at >= '2017-02-02'")
    host.database(f"insert into raw.events {events}")
    host.succeed("dbt build")
    assert host.rows("user_stage_months", "month = '2017-02-01'") > 100
    assert os.readlink(host.folder / "published") != published

    ((user,),) = host.database("select min(user_id) from analytics_life_stage.user_stages")
    shutil.copy2(host.folder / "shop.duckdb", host.folder / "old.duckdb")
    output = host.succeed(f"life-stage erase {user}")
    assert "raw.events have a text in user_id that equals the user's id" in output
    assert host.rows("user_stages", f"user_id = '{user}'") == 0

    os.replace(host.folder / "old.duckdb", host.folder / "shop.duckdb")
    host.succeed("dbt run --select published_marts")
    assert host.rows("user_stages", f"user_id = '{user}'") == 0, "the ledger erases again"
    stages = duckdb.sql(f"from '{host.folder}/published/user_stages.parquet' where user_id = '{user}'")
    assert stages.fetchall() == []
