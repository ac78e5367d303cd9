"""Report: one self-contained, accessible file with the figures of the tables."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import duckdb
import pandas as pd
import pytest

from life_stage.report import report
from life_stage.report.report_panels import PANELS, ReportPanel

# Keys of the results, and the groups in which suppressed counts must reach the limit together.
HIDING = {
    "stage_accuracy": (["method", "period", "cohort"], ["method", "cohort"]),
    "stage_confusion": (["method", "true_stage", "predicted_stage"], ["method", "true_stage"]),
    "stage_calibration": (["method", "probability_bin"], ["method"]),
}
ENOUGH = 20
N_CHARTS = sum(panel.draw is not None for panel in PANELS)


@pytest.fixture(scope="module")
def written(evaluated, tmp_path_factory):
    """The report of a shop with an evaluation, and its number of charts; no count is suppressed."""
    file = tmp_path_factory.mktemp("report") / "life_stages.html"
    warehouse = file.with_name("warehouse.duckdb")
    with duckdb.connect() as connection:
        connection.execute(
            f"attach '{evaluated.warehouse}' as evaluated (read_only); attach '{warehouse}' as warehouse"
        )
        connection.execute("copy from database evaluated to warehouse")
        for table in HIDING:
            connection.execute(f"update warehouse.{table} set is_suppressed = false")
    return file, report.write(warehouse, file)


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_every_panel_has_a_chart_with_its_rows_beside_it(written):
    file, n_charts = written
    page = Page(file.read_text(encoding="utf-8"))
    assert n_charts == N_CHARTS == sum(tag == "svg" for tag, _ in page.tags)
    labels = {found.get("aria-label") for tag, found in page.tags if tag == "figure"}
    assert labels == {f"Chart: {panel.title}" for panel in PANELS if panel.draw}
    assert page.text.count("The rows behind it") == N_CHARTS and "Nothing to show" not in page.text


def test_every_chart_has_marks_and_axes(written):
    drawn = re.findall(r"<svg.*?</svg>", written[0].read_text(encoding="utf-8"), flags=re.S)
    assert len(drawn) == N_CHARTS
    for svg in drawn:
        assert re.search(r'class="mark-(rect|line|symbol|area|rule) role-mark[^>]*>\s*<path', svg), svg[:300]
        assert svg.count("<text") > 4


def test_it_loads_nothing_and_is_small(written):
    text = written[0].read_text(encoding="utf-8")
    page = Page(text)
    policies = [found["content"] for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert len(text) < 3_000_000


def test_a_browser_renders_it_without_errors(written, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path}", written[0].as_uri()]
    visible = subprocess.run(command, capture_output=True, text=True, timeout=120)
    page = Page(visible.stdout)
    assert ("body", {"data-ready": "true"}) in page.tags
    assert sum(tag == "svg" for tag, _ in page.tags) == N_CHARTS
    assert "CONSOLE" not in visible.stderr


def test_the_headline_has_the_users_of_each_stage_and_their_change(evaluated, written):
    text = written[0].read_text(encoding="utf-8")
    totals = evaluated.frame("stage_totals").sort_values(["month", "stage_no"])
    months = sorted(totals["month"].unique())[-2:]
    before, now = (totals[totals["month"] == month]["n_users"].tolist() for month in months)
    tiles = re.findall(r"<li>(\w+)<b>(.*?)</b>(.*?)</li>", text)
    assert [stage for stage, _, _ in tiles] == totals["stage"].head(len(now)).tolist()
    for (_, n_users, more), new, old in zip(tiles, now, before, strict=True):
        assert n_users == ("few" if pd.isna(new) else f"{new:,.0f}")
        assert more == ("no comparison" if pd.isna(new - old) else f"{new - old:+,.0f} since the month before")
    assert "no alarms" in text and "through February 2017" in text and "SIMULATED" not in text


def test_the_headline_shows_alarms_and_simulated_data(written, tmp_path):
    with duckdb.connect() as connection:
        connection.execute(f"attach '{written[0].with_name('warehouse.duckdb')}' as old (read_only)")
        connection.execute(f"attach '{tmp_path}/new.duckdb' as new; copy from database old to new")
        connection.execute("update new.delivery_checks set is_wrong = true, message = 'a < b' where value = 'purchase'")
    report.write(tmp_path / "new.duckdb", tmp_path / "new.html", simulated=True)
    text = (tmp_path / "new.html").read_text(encoding="utf-8")
    assert '<span class="badge alarm">a &lt; b</span>' in text and '<span class="badge">SIMULATED</span>' in text
    assert "no alarms" not in text


def test_the_attributions_of_the_sample_are_those_of_the_mart(evaluated, written):
    text = written[0].read_text(encoding="utf-8")
    sections = re.findall(r"<summary>User (\S+), child (\d+): (\w+), log-odds (\S+)</summary>(.*?)</details>", text)
    assert len(sections) == 12
    for user, child_no, stage, log_odds, rows in sections:
        mart = evaluated.frame("stage_reasons", f"user_id = '{user}' and child_no = {child_no}").sort_values("rank")
        assert stage == mart["stage"].iloc[0] and float(log_odds) == pytest.approx(mart["log_odds"].iloc[0], abs=0.01)
        cells = re.findall(r"<td.*?>(.*?)</td>", rows)
        assert [float(cell) for cell in cells[1::2]] == pytest.approx(list(mart["contribution"]), abs=0.001)


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
    found = report.section(ReportPanel("<b>", "&", "", None), rows, [])
    assert "<script" not in found and "<b>" not in found and "<i>" not in found
    assert "&lt;script&gt;" in found and ">1.500<" in found and ">2<" in found


def test_a_shop_without_an_evaluation_has_a_report(base, tmp_path):
    n_charts = report.write(base.warehouse, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 0 < n_charts < N_CHARTS and text.count("Nothing to show yet") == N_CHARTS - n_charts
