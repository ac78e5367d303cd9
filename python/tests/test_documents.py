"""Executable parts of the documents: queries, scripts, error codes."""

import ast
import os
import re
import subprocess
import sys

import duckdb
import pytest
from errors_page import CODE, FOLDERS, page
from project import PROJECT

from life_stage.commands.command_line import parser

DOCUMENTS = {
    path.name: path.read_text(encoding="utf-8") for path in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")]
}
RECIPES = re.findall(r"^```(sql|python)\n(.*?)^```", DOCUMENTS["reading_marts.md"], flags=re.M | re.S)
OPERATING = re.findall(r"^```python\n(.*?)^```", DOCUMENTS["operating.md"], flags=re.M | re.S)


@pytest.mark.parametrize("sql", [text for language, text in RECIPES if language == "sql"])
def test_every_query_of_the_recipes_runs(base, sql):
    with duckdb.connect(base.published / "life_stage.duckdb", read_only=True) as marts:
        rows = marts.sql(sql).fetchall()
    # 400 users are too few for interests, moves and the back-test, and none of them is asked for consent.
    without_rows = ("stage_interests", "stage_transitions", "outlook_backtest", "user_consents")
    assert rows or any(table in sql for table in without_rows)


def test_the_mailing_goes_to_children_that_enter_toddler_next_month_and_to_users_with_consent():
    (sql,) = [text for _, text in RECIPES if "user_consents" in text]
    outlook = [
        ("wanted", 1, "toddler", 1, 0.9),
        ("too unsure", 1, "toddler", 1, 0.7),
        ("later", 1, "toddler", 2, 0.9),
        ("other stage", 1, "infant", 1, 0.9),
        ("other consent", 1, "toddler", 1, 0.9),
        ("no consent", 1, "toddler", 1, 0.9),
        ("wanted too", 2, "toddler", 1, 0.8),
    ]
    consents = {(user, "app" if user == "other consent" else "email") for user, *_ in outlook if user != "no consent"}
    with duckdb.connect() as marts:
        marts.execute(
            "create table stage_outlook (user_id text, child_no int, stage text, horizon int, p_entering double)"
        )
        marts.executemany("insert into stage_outlook values (?, ?, ?, ?, ?)", outlook)
        marts.execute("create table user_consents (user_id text, purpose text)")
        marts.executemany("insert into user_consents values (?, ?)", [*sorted(consents), ("wanted", "app")])
        assert marts.sql(sql).fetchall() == [("wanted", 1, 0.9), ("wanted too", 2, 0.8)]


@pytest.mark.parametrize("script", [text for language, text in RECIPES if language == "python"])
def test_every_script_of_the_recipes_runs(base, script):
    run = subprocess.run([sys.executable, "-c", script], cwd=base.folder, capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout, run.stderr


def test_the_schedulers_snippets_are_python_that_calls_the_job():
    assert len(OPERATING) == 2
    for snippet in OPERATING:
        assert "make build" in {node.value for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Constant)}


def test_the_notebook_runs(base):
    pytest.importorskip("marimo", reason="marimo is not installed: pip install -e '.[notebook]'")
    paths = {
        "LIFE_STAGE_PUBLISHED": str(base.published),
        "LIFE_STAGE_WAREHOUSE": str(base.warehouse),
    }
    notebook = PROJECT / "notebooks" / "explore_marts.py"
    run = subprocess.run([sys.executable, notebook], env=os.environ | paths, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for found in ("Children by stage", "and why the last one", "Share of actions in the evening", "kindergarten"):
        assert found in run.stdout


def test_every_make_target_of_the_documents_exists():
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    pages = (page for name, page in DOCUMENTS.items() if "CHANGELOG" not in str(name))  # which names those of old
    code = (text for page in pages for text in re.findall(r"```.*?```|`[^`\n]+`", page, flags=re.S))
    named = {target for text in code for target in re.findall(r"\bmake ([a-z-]+)", text)}
    assert {"build", "demo"} <= named <= targets


def test_every_command_of_the_documents_exists():
    commands = next(iter(parser()._subparsers._group_actions)).choices
    code = (text for page in DOCUMENTS.values() for text in re.findall(r"```.*?```|`[^`\n]+`", page, flags=re.S))
    named = {name for text in code for name in re.findall(r"\blife-stage ([a-z-]+)", text)}
    assert {"run", "map", "doctor", "sample-rows"} <= named <= commands.keys()


def test_the_decision_on_patches_names_every_file_that_changes_dbt():
    changes = r"\(BasePlugin\)|\w(Adapter|Manager|Context)\.\w+ = |^\{% (macro spark__|materialization )"
    named = (PROJECT / "docs/decisions/0003-patches-of-dbt-and-adapters.md").read_text(encoding="utf-8")
    files = [*PROJECT.glob("macros/**/*.sql"), *PROJECT.glob("python/*.py"), *PROJECT.glob("python/life_stage/**/*.py")]
    changing = [file for file in files if re.search(changes, file.read_text(encoding="utf-8"), flags=re.M)]
    paths = [str(file.relative_to(PROJECT)).removeprefix("python/") for file in changing]
    assert len(paths) > 8 and [path for path in paths if f"`{path}`" not in named] == []


def test_the_list_of_codes_is_complete():
    """Changed a message? `make errors` writes the page."""
    files = [path for folder in FOLDERS for path in (PROJECT / folder).rglob("*") if path.suffix in (".sql", ".py")]
    in_code = {code for path in files for code in CODE.findall(path.read_text(encoding="utf-8"))}
    assert in_code == set(re.findall(rf"^\| ({CODE.pattern}) ", DOCUMENTS["errors.md"], flags=re.M))
    assert DOCUMENTS["errors.md"] == page()
