"""Report: one self-contained, accessible file with the figures of the tables."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from report_page import PANELS, Page, article, changed

from life_stage.report import data, markup, onboarding, report
from life_stage.report.panels import Panel

# Keys of the results, and the groups in which suppressed counts must reach the limit together.
HIDING = {
    "stage_accuracy": (["method", "period", "cohort"], ["method", "cohort"]),
    "stage_confusion": (["method", "true_stage", "predicted_stage"], ["method", "true_stage"]),
    "stage_calibration": (["method", "probability_bin"], ["method"]),
}
ENOUGH = 20
TABS = ["audience", "quality", "data", "runs", "explain"]
WITHOUT_ROWS = {"Drift", "Forecasts of moves"}  # of the small shop


@pytest.fixture(scope="module")
def written(evaluated, tmp_path_factory):
    """The report of a shop with an evaluation, and its number of charts; no result is suppressed."""
    file = tmp_path_factory.mktemp("report") / "life_stages.html"
    shown = [f"update {table} set is_suppressed = false" for table in HIDING]
    warehouse = changed(evaluated.warehouse, file.with_name("warehouse.duckdb"), *shown)
    return file, report.write(warehouse, file)


def rows_of(written, panel: Panel) -> pd.DataFrame:
    """The rows of a panel."""
    with duckdb.connect(str(written[0].with_name("warehouse.duckdb")), read_only=True) as connection:
        return connection.sql(panel.sql).df()


def read_in_browser(file: Path, fragment: str, folder: Path) -> tuple[Page, str]:
    """The page after its script ran, and the messages of the browser."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command += [f"--user-data-dir={folder}", file.as_uri() + fragment]
    visible = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return Page(visible.stdout), visible.stderr


def open_tabs(page: Page) -> list[str]:
    """The ids of the parts that are shown."""
    return [
        found["id"] for tag, found in page.tags if "tab" in found.get("class", "").split() and "hidden" not in found
    ]


def test_every_panel_has_its_name_its_finding_and_its_rows(written):
    text, n_charts = written[0].read_text(encoding="utf-8"), written[1]
    n_drawn = n_found = 0
    for panel in PANELS:
        rows, shown = rows_of(written, panel), article(text, panel.name)
        assert rows.empty == (panel.name in WITHOUT_ROWS), panel.name
        if rows.empty:
            assert panel.empty in shown and f"<h3>{panel.name}</h3>" in shown
            continue
        finding = panel.title(rows)
        heading = Page(re.findall("<h3>.*?</h3>", shown)[0]).text.replace("\N{NO-BREAK SPACE}", " ")
        assert heading == f"{panel.name} {finding}".strip()
        n_found += finding != ""
        n_drawn += panel.draw is not None
        assert shown.count("<figure>") == (panel.draw is not None)
        assert ("The rows behind it" in shown) == (panel.draw is not None)
    assert n_charts == n_drawn == text.count("<figure>") and n_found > 15


def test_every_chart_has_marks_and_axes_in_the_colours_of_the_theme(written):
    drawn = re.findall(r"<svg .*?</svg>", written[0].read_text(encoding="utf-8"), flags=re.S)
    drawn = [svg for svg in drawn if 'aria-hidden="true">' not in svg[:120]]  # sparklines have their values beside them
    assert len(drawn) > 10
    for svg in drawn:
        assert re.search(r'class="mark-(rect|line|symbol|area|rule) role-mark[^>]*>\s*<path', svg), svg[:300]
        assert svg.count("<text") > 4 and svg.startswith('<svg role="img" aria-label="Chart: ')
        colours = set(re.findall(r'<text[^>]* fill="([^"]+)"', svg))
        assert {colour for colour in colours if not colour.startswith(("currentColor", "var(--"))} == set()


def test_it_runs_one_script_loads_nothing_and_is_small(written):
    text = written[0].read_text(encoding="utf-8")
    page = Page(text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policies = [found["content"] for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]
    assert [found for tag, found in page.tags if tag == "script"] == [{}]
    assert not {"link", "img", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.tags}
    assert [name for _, found in page.tags for name in found if name.startswith("on")] == []
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in text and "url(" not in text
    assert len(text) < 3_000_000


@pytest.mark.parametrize(
    ("fragment", "shown"), [("", "audience"), ("#quality", "quality"), ("#rejected-rows", "data"), ("#no", "audience")]
)
def test_a_browser_shows_the_part_that_the_address_names(written, tmp_path, fragment, shown):
    page, messages = read_in_browser(written[0], fragment, tmp_path)
    assert open_tabs(page) == [shown] and "CONSOLE" not in messages
    tabs = [found for _, found in page.tags if found.get("role") == "tab"]
    assert [found["href"] for found in tabs] == [f"#{name}" for name in TABS]
    assert [found["aria-controls"] for found in tabs if found["aria-selected"] == "true"] == [shown]
    assert [found["tabindex"] for found in tabs].count("0") == 1, "one stop of the tabulator"


def test_without_scripts_all_parts_follow_each_other_with_headings(written, tmp_path):
    text = written[0].read_text(encoding="utf-8")
    (tmp_path / "other.html").write_text(text.replace("'sha256-", "'sha256-x"), encoding="utf-8")
    page, messages = read_in_browser(tmp_path / "other.html", "#quality", tmp_path / "profile")
    assert "Content Security Policy" in messages, "the script ran, although its hash is not that of the policy"
    assert open_tabs(page) == TABS
    assert re.findall(r"\n([^\n]*\.tab\b[^{]*)\{ display: none", text) == [".tabbed .tab > h2 "]
    assert [found["id"] for tag, found in page.tags if tag == "h2"] == [f"{name}-title" for name in TABS]
    assert not [found for _, found in page.tags if found.get("role") == "tab"]


@pytest.mark.parametrize(
    ("days", "text", "kind"), [(0.1, "today", "age"), (1.5, "1 day ago", "age"), (40.5, "40 days ago", "age"),
        (41.5, "41 days ago", "badge alarm")],
)  # fmt: skip
def test_the_age_of_the_last_success_is_that_of_the_day_it_is_opened(written, tmp_path, days, text, kind):
    old = written[0].read_text(encoding="utf-8")
    started = pd.Timestamp.now("UTC") - pd.Timedelta(days=days)
    aged = re.sub(r'<time datetime="[^"]+"', f'<time datetime="{started:%Y-%m-%dT%H:%M:%SZ}"', old)
    assert aged != old
    (tmp_path / "aged.html").write_text(aged, encoding="utf-8")
    page, _ = read_in_browser(tmp_path / "aged.html", "", tmp_path / "profile")
    assert text in page.text
    assert [
        found["class"] for tag, found in page.tags if tag == "span" and found.get("class") in ("age", "badge alarm")
    ] == [kind]


def test_the_headline_has_the_users_of_each_stage_and_their_change(evaluated, written):
    text = written[0].read_text(encoding="utf-8")
    totals = evaluated.frame("stage_totals").sort_values(["month", "stage_no"])
    months = sorted(totals["month"].unique())[-2:]
    before, now = (totals[totals["month"] == month]["n_users"].tolist() for month in months)
    tiles = re.findall(r"<li>(\w+)<b>(.*?)</b><small>(.*?)</small><svg", text)
    assert [stage for stage, _, _ in tiles] == totals["stage"].head(len(now)).tolist()
    for (_, n_users, more), new, old in zip(tiles, now, before, strict=True):
        assert n_users == ("few" if pd.isna(new) else f"{new:,.0f}")
        assert more == ("no comparison" if pd.isna(new - old) else f"{new - old:+,.0f} since January")
    assert "no alarms" in text and "through <b>February 2017</b>" in text and "SIMULATED" not in text


def test_the_headline_shows_alarms_and_simulated_data(written, tmp_path):
    is_wrong = "update delivery_checks set is_wrong = true, message = 'a < b' where value = 'purchase'"
    warehouse = changed(written[0].with_name("warehouse.duckdb"), tmp_path / "new.duckdb", is_wrong)
    report.write(warehouse, tmp_path / "new.html", simulated=True)
    text = (tmp_path / "new.html").read_text(encoding="utf-8")
    assert '<span class="badge alarm">a &lt; b</span>' in text and '<span class="badge">SIMULATED</span>' in text
    assert "no alarms" not in text and "<li>a &lt; b</li>" in article(text, "Checks of the source")


def test_a_failed_run_is_an_alarm_and_the_last_success_stays(written, tmp_path):
    old = written[0].with_name("warehouse.duckdb")
    failed = """
        insert into model_runs by name select 'later' as run_id, max(started_at) + interval 1 day as started_at,
        'failed' as status, 'LS-SRC-001' as error_code, 'a < b' as error from model_runs
    """
    report.write(changed(old, tmp_path / "new.duckdb", failed), tmp_path / "new.html")
    before, text = written[0].read_text(encoding="utf-8"), (tmp_path / "new.html").read_text(encoding="utf-8")
    assert '<span class="badge alarm">newest run failed: LS-SRC-001 a &lt; b</span>' in text and "no alarms" not in text
    assert re.findall("<time .*?</time>", before) == re.findall("<time .*?</time>", text)
    runs = article(text, "Newest runs")
    assert "The newest run failed (LS-SRC-001)" in runs and '<i class="bad"' in runs and "LS-SRC-001" in runs


def test_the_report_shows_all_mistakes_and_the_marts_suppress_some(evaluated, written):
    predictions = evaluated.frame("stage_predictions", "method = 'birth_month_filter'")
    counts = predictions.groupby(["true_stage", "predicted_stage"]).size()
    shares = (counts / counts.groupby(level=0).transform("sum")).to_dict()
    shown = article(written[0].read_text(encoding="utf-8"), "Confusion matrix")
    (matrix,) = re.findall(r'<table class="matrix">(.*?)</table>', shown)
    across = re.findall(r'<th scope="col"><span>(.*?)</span>', matrix)
    for down, line in re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', matrix):
        for stage, (kind, text) in zip(across, re.findall(r"<td([^>]*)>(.*?)</td>", line), strict=True):
            share = shares.get((down, stage), 0)
            assert text == (f"{100 * share:.0f}" if share >= 0.005 else "&lt;1" if share else "")
            assert ('class="bad"' in kind) == (share > 0 and down != stage)
    mistakes = counts[counts.index.get_level_values(0) != counts.index.get_level_values(1)]
    words = re.findall(r"<li><b>(\w+)</b> taken for <b>(\w+)</b>: (\d+) user-months", shown)
    assert len(words) == 5 and all(mistakes[down, across] == int(n) for down, across, n in words)
    assert [int(n) for *_, n in words] == sorted(mistakes, reverse=True)[:5]
    suppressed = evaluated.frame("stage_confusion", "method = 'birth_month_filter'")["is_suppressed"]
    assert suppressed.any() and "the published marts suppress" in shown


def test_signs_are_in_words_and_features_only_in_the_rows_behind(evaluated, written):
    shown = article(written[0].read_text(encoding="utf-8"), "Signs of each stage")
    figure, behind = shown.split("The rows behind it")
    words = dict(evaluated.query("select feature, reason from reason_texts"))
    top = evaluated.frame("top_stage_features")
    assert figure.count("<li>") == len(top)
    for feature in top["feature"]:
        assert f"<span>{words[feature]}</span>" in figure and feature in behind
        assert feature == words[feature] or f"<span>{feature}</span>" not in figure


def test_rejections_are_shares_of_the_rows_read(evaluated, written):
    rows = rows_of(written, next(panel for panel in data.DATA if panel.name == "Rejected rows"))
    n_read = {
        "actions": "sum(n_rows) from action_months",
        "children": "count(*) from stg_child_rows",
        "items": "count(*) from stg_item_rows",
    }
    for row in rows.itertuples():
        ((n_all,),) = evaluated.query(f"select {n_read[row.table_name]}")
        assert row.share == pytest.approx(row.rows / n_all)
    ((n_rejected, n_all),) = evaluated.query("select sum(n_rejected), sum(n_rows) from action_months")
    assert rows.loc[rows["table_name"] == "actions", "rejected_of_table"].unique() == pytest.approx(n_rejected / n_all)
    assert rows["remedy"].notna().all()


def test_the_attributions_of_the_sample_are_those_of_the_mart(evaluated, written):
    text = written[0].read_text(encoding="utf-8")
    sections = re.findall(r"<summary>User (\S+), child (\d+): (\w+), (.*?)</summary>(.*?)</details>", text)
    assert len(sections) == 12
    for user, child_no, stage, _, rows in sections:
        mart = evaluated.frame("stage_reasons", f"user_id = '{user}' and child_no = {child_no}").sort_values("rank")
        assert stage == mart["stage"].iloc[0]
        values = re.findall(r"<span>([+-][\d.]+)</span></li>", rows)
        assert [float(value) for value in values] == pytest.approx(list(mart["contribution"]), abs=0.0051)


@pytest.fixture(scope="module")
def started(evaluated, tmp_path_factory):
    """The report of a warehouse with few labels and no model."""
    folder = tmp_path_factory.mktemp("started")
    empty = ["user_stages", "user_stage_months", "stage_totals", "stage_coefficients", "stage_reasons", "stage_outlook"]
    some = "select distinct user_id from stage_labels order by 1 limit 80"
    few = f"delete from stage_labels where user_id not in ({some})"
    statements = [f"delete from {table}" for table in (*empty, "household_accuracy")]
    warehouse = changed(evaluated.warehouse, folder / "warehouse.duckdb", *statements, few)
    report.write(warehouse, folder / "published.html")
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        users = connection.sql("from training_rows where split = 'train' and is_active").df()["user_id"]
    return (folder / "published.html").read_text(encoding="utf-8"), users.nunique()


def test_without_a_model_the_report_says_what_is_missing(evaluated, started):
    text, n_users = started
    assert re.findall(r'<section class="tab" id="(\w+)"', text) == ["start", "data", "runs"]
    assert '<span class="badge alarm">no model (LS-ML-001)</span>' in text
    missing = f"{n_users} of 300 training users with one registered child: {300 - n_users} are missing"
    assert 0 < n_users < 300 and missing in text
    n_actions, n_shoppers, n_months = evaluated.query(
        "select count(*), count(distinct user_id), count(distinct month) from stg_actions"
    )[0]
    assert f"{n_actions:,} actions of {n_shoppers:,} users in {n_months} months were read" in text
    assert "training_min_users" in article(text, "Labels") and "Next steps" in text
    stages = article(text, "Registered users by stage")
    assert stages.count("<li>") == len(evaluated.query("from stages"))


def test_the_steps_name_the_missing_labels_and_items():
    facts = pd.Series({"training_users": 100, "needed": 300, "registered_users": 150})
    shown = onboarding.next_steps(facts, 60.0)
    assert "200 more training users: about 300 registered users" in shown and "40 % of the item actions" in shown
    assert "LS-ML-002" in onboarding.next_steps(facts.replace(100, 300), 99.0)


def test_the_accuracy_to_expect_is_the_measured_one(started):
    file = Path(__file__).parents[2] / "bench" / "results" / "learning_curve.json"
    runs = json.loads(file.read_text())["figures"]["runs"]
    measured = {run["n_training_users"]: round(run["groups"]["data"][0][2], 3) for run in runs}
    assert runs[0]["groups"]["columns"][2] == "right_share" and measured == pytest.approx(onboarding.EXPECTED, abs=6e-4)
    assert all(f"{n_users:,} training users" in article(started[0], "Accuracy to expect") for n_users in measured)


def users_of(shop, table: str) -> pd.Series:
    """The number of users of each result of a table, by an independent count."""
    rows = shop.frame("stage_predictions")
    if table == "stage_accuracy":
        rows = rows.merge(shop.frame("evaluation_cohorts"), on=["user_id", "month"])
    rows["probability_bin"] = (rows["predicted_stage_probability"] * 15).astype(int).clip(upper=14)
    return rows.groupby(HIDING[table][0])["user_id"].nunique()


@pytest.mark.parametrize("table", HIDING)
def test_results_of_few_users_are_suppressed_and_cannot_be_derived(evaluated, table):
    key, group = HIDING[table]
    results = evaluated.frame(table).set_index(key)
    users = users_of(evaluated, table).reindex(results.index)
    assert (
        (users[~results["is_suppressed"]] >= ENOUGH).all()
        and (users < ENOUGH).any()
        and not results["is_suppressed"].all()
    )
    suppressed = users[results["is_suppressed"]].groupby(group).sum()
    visible = users[~results["is_suppressed"]].groupby(group).sum()
    assert (suppressed[suppressed.index.isin(visible.index)] >= ENOUGH).all()


def test_gains_of_few_users_are_suppressed_with_figures_that_reveal_them(evaluated):
    results = evaluated.frame("gain_over_baseline").set_index(["method", "period", "cohort"])
    assert (results.loc[~results["is_suppressed"], "n_users"] >= ENOUGH).all() and results["is_suppressed"].any()
    for (_, _), rows in results.reset_index().groupby(["method", "period"]):
        small = rows.set_index("cohort")["is_suppressed"]
        if (rows.set_index("cohort")["n_users"].get("not active in the window", ENOUGH)) < ENOUGH:
            assert small["active in the window"]
        if "active month" in small and "empty month" in small:
            assert small["active month"] == small["empty month"]


def test_rejected_rows_of_few_users_are_not_counted(evaluated, base):
    seen = set()
    for shop in (evaluated, base):
        rejected = shop.frame("stg_rejected_actions")
        people = rejected.groupby("reason")["user_id"].agg(lambda users: users.nunique() + users.isna().sum())
        results = shop.frame("rejection_counts", "table_name = 'actions'").set_index("reason")["n_rows"]
        assert set(results.index) == set(people.index)
        visible, suppressed = people[results[results.notna()].index], people[results[results.isna()].index]
        assert (visible >= ENOUGH).all() and (suppressed.empty or suppressed.sum() >= ENOUGH)
        seen |= {bool(is_visible) for is_visible in results.notna()}
    assert seen == {True, False}


def test_weights_and_drift_of_few_users_are_suppressed(evaluated):
    met = evaluated.frame("user_month_features").groupby("feature")["user_id"].nunique()
    weights = evaluated.frame("top_stage_features")
    assert (weights["feature"].map(met) >= ENOUGH).all()
    assert (weights.groupby("stage")["rank"].max() == 6).all()
    active = evaluated.frame("user_stage_months", "is_primary")
    active["is_active"] = active["last_active_month"] == active["month"]
    counts = active.groupby("month")["is_active"].agg(["sum", "size"])
    drift = evaluated.frame("month_drift", "measure like 'users%'").set_index("month")["share"]
    wanted = counts[(counts["sum"] >= ENOUGH) & ((counts["size"] - counts["sum"]).map(lambda n: n == 0 or n >= ENOUGH))]
    assert list(drift.index) == list(wanted.index)
    assert list(drift) == pytest.approx(list(wanted["sum"] / wanted["size"]))


def test_texts_of_the_shop_are_no_markup():
    rows = pd.DataFrame({"<i>": ["<script>alert(1)</script>", None], "n": [1.5, 2.0]})
    found = Panel("<b>", "", lambda _: "<u>", "&").shown(rows, [])
    found += markup.bars([markup.Bar("<script>", 1, "<i>")]) + markup.multiples({"<b>": ""})
    found += markup.matrix({("<b>", "<i>"): 0.001}, ["<b>"], ["<i>"], "<u>")
    assert not re.search("<(script|b|u|i)>", found)
    assert "&lt;script&gt;" in found and ">1.500<" in found and ">2<" in found and "&lt;1" in found


def test_a_shop_without_an_evaluation_has_a_report(base, tmp_path):
    n_charts = report.write(base.warehouse, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    n_empty = sum(panel.empty in article(text, panel.name) for panel in PANELS)
    assert 0 < n_charts == len(PANELS) - n_empty - sum(panel.draw is None for panel in PANELS) and n_empty > 3
