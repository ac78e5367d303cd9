"""The report is one file that loads nothing, shows what the tables say and can be read without seeing it."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pytest

from life_stage import report
from life_stage.report_panels import PANELS, Panel

N_CHARTS = sum(panel.draw is not None for panel in PANELS)


@pytest.fixture(scope="module")
def written(judged, tmp_path_factory):
    """The report of a shop whose methods are judged, and how many charts it says it has."""
    file = tmp_path_factory.mktemp("report") / "life_stages.html"
    return file, report.write(judged.warehouse, file)


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


def test_a_browser_shows_it_without_a_complaint(written, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path}", written[0].as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    page = Page(shown.stdout)
    assert ("body", {"data-ready": "true"}) in page.tags
    assert sum(tag == "svg" for tag, _ in page.tags) == N_CHARTS
    assert "CONSOLE" not in shown.stderr


def test_the_reasons_of_the_sample_are_those_of_the_mart(judged, written):
    text = written[0].read_text(encoding="utf-8")
    sections = re.findall(r"<summary>User (\S+), child (\d+): (\w+), log-odds (\S+)</summary>(.*?)</details>", text)
    assert len(sections) == 12
    for user, child_no, stage, log_odds, rows in sections:
        mart = judged.frame("stage_reasons", f"user_id = '{user}' and child_no = {child_no}").sort_values("place")
        assert stage == mart["stage"].iloc[0] and float(log_odds) == pytest.approx(mart["log_odds"].iloc[0], abs=0.01)
        cells = re.findall(r"<td.*?>(.*?)</td>", rows)
        assert [float(cell) for cell in cells[1::2]] == pytest.approx(list(mart["contribution"]), abs=0.001)


def test_what_shops_write_is_no_markup():
    rows = pd.DataFrame({"<i>": ["<script>alert(1)</script>", None], "n": [1.5, 2.0]})
    found = report.section(Panel("<b>", "&", "", None), rows, [])
    assert "<script" not in found and "<b>" not in found and "<i>" not in found
    assert "&lt;script&gt;" in found and ">1.500<" in found and ">2<" in found


def test_a_shop_that_is_not_judged_has_a_report_too(base, tmp_path):
    n_charts = report.write(base.warehouse, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 0 < n_charts < N_CHARTS and text.count("Nothing to show yet") == N_CHARTS - n_charts
