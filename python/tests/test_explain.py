"""The page about one user: figures of the tables, for its owner only, gone with an erasure."""

import re
import stat
import subprocess
import sys

import pytest
from project import PROJECT
from report_page import article

from life_stage import paths
from life_stage.operations.erased_files import remove_pages
from life_stage.report import explain


@pytest.fixture(scope="module")
def explained(evaluated, tmp_path_factory):
    """A user with two children in a stage or more, and the page about them."""
    (user,) = evaluated.query(
        "select user_id from user_stages group by 1 order by count(*) desc, max(probability), 1 limit 1"
    )[0]
    return user, explain.write(evaluated.warehouse, tmp_path_factory.mktemp("report") / "life_stages.html", user)


def test_the_page_about_a_user_has_the_figures_of_the_tables(evaluated, explained):
    user, file = explained
    text = file.read_text(encoding="utf-8")
    assert file.name == "life_stages_explain.html" and f"User {user}," in text
    theirs = f"user_id = '{user}'"
    children = evaluated.frame("user_stage_months", theirs)["child_no"].unique()
    reasons = evaluated.frame("stage_reasons", theirs)
    assert len(children) > 1 and len(reasons) and set(reasons["child_no"]) <= set(children)
    for child_no in children:
        of_child = reasons[reasons["child_no"] == child_no].sort_values("rank")
        shown = article(text, f"child {child_no} Reasons")
        assert all(f"<span>{reason}</span>" in shown for reason in of_child["reason"])
        months = evaluated.frame("user_stage_months", f"{theirs} and child_no = {child_no}")
        newest = months.sort_values("month").iloc[-1]
        probabilities = newest[[name for name in months.columns if name.startswith("p_")]].astype(float)
        title = article(text, f"child {child_no} Probabilities over time")
        assert probabilities.idxmax()[2:].replace("_", " ").capitalize() in title
        outlook = evaluated.frame("stage_outlook", f"{theirs} and child_no = {child_no}")
        assert article(text, f"child {child_no} Outlook").count("<td class=") >= len(outlook)
    strongest = reasons[reasons["kind"] == "feature"].groupby("feature_month")["contribution"].sum().nlargest(3).index
    actions = evaluated.frame("stg_actions", theirs)
    shown = article(text, "Actions of the strongest months")
    days = set(re.findall(r"<tr><td>(\d{4}-\d\d-\d\d)</td>", shown))
    assert days == set(actions[actions["month"].isin(strongest)]["acted_on"].astype(str))
    items = f"select item_id from stg_actions where {theirs} and acted_on = date '{min(days)}'"
    titles = evaluated.query(f"select title from stg_items where item_id in ({items})")
    assert all(title in shown for (title,) in titles)


def test_the_page_about_a_user_loads_nothing_and_only_its_owner_can_read_it(explained):
    _, file = explained
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    paths.write_whole(file, file.read_text(encoding="utf-8"), mode=0o600)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text(encoding="utf-8")
    assert "default-src 'none'" in text and text.count("<script>") == 1


def test_a_user_without_a_stage_is_explained_too(evaluated, tmp_path):
    (user,) = evaluated.query(
        "select min(user_id) from stg_actions where user_id not in (select user_id from user_stages)"
    )[0]
    file = explain.write(evaluated.warehouse, tmp_path / "published.html", user)
    text = file.read_text(encoding="utf-8")
    assert "there is no stage to explain" in text and re.search(r"[\d,]+ actions? in ", text)


def test_an_unknown_user_is_an_error_with_a_code_and_no_page(evaluated, tmp_path):
    command = [sys.executable, "-m", "life_stage.commands.command_line", "explain", "nobody"]
    places = {"LIFE_STAGE_WAREHOUSE": str(evaluated.warehouse), "LIFE_STAGE_PUBLISHED": str(tmp_path / "published")}
    done = subprocess.run(
        command, env={"PYTHONPATH": str(PROJECT / "python"), **places}, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.startswith("LS-SUM-004 ") and "nobody" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_erasure_removes_the_pages_that_name_the_user(tmp_path):
    endings = [".html", ".html.new", "_explain.html", "_explain.html.new"]
    for ending in endings:
        (tmp_path / f"published{ending}").write_text("User 12, child 1 and User a&lt;b, child 1")
    remove_pages(tmp_path / "published", ["1", "2", "x"])
    assert len(list(tmp_path.iterdir())) == len(endings)
    remove_pages(tmp_path / "published", ["a<b"])
    assert list(tmp_path.iterdir()) == []
