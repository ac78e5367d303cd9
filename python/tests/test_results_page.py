"""docs/results.md, docs/performance.md and their pictures against the generators' output from the stored figures."""

import importlib
from pathlib import Path

import pytest

from life_stage import charts

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def results_page(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "bench"))
    return importlib.import_module("results_page")


def test_the_page_is_written_from_the_kept_figures(results_page, tmp_path, monkeypatch):
    """Run bench/results_page.py after changing its sentences."""
    monkeypatch.setattr(results_page, "DOCS", tmp_path)
    results_page.write(tmp_path / "results.md")
    files = ["results.md", *(f"pictures/{name}.svg" for name in ("accuracy_by_month", "calibration"))]
    for name in files:
        assert (tmp_path / name).read_text() == (PROJECT / "docs" / name).read_text(), name


def test_the_tables_of_the_checkout_are_written_from_the_kept_figures(results_page):
    """Run bench/checkout_page.py after make bench-checkout."""
    page = importlib.import_module("checkout_page")
    figures, text = results_page.results("checkout")["figures"], page.PAGE.read_text()
    assert [table.__name__ for table in page.TABLES if table(figures) not in text] == []


def test_the_page_of_costs_is_written_from_the_kept_figures(results_page, tmp_path, monkeypatch):
    """Run bench/performance_page.py after make bench."""
    page = importlib.import_module("performance_page")
    for module in (results_page, page):
        monkeypatch.setattr(module, "DOCS", tmp_path / "docs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text((PROJECT / "README.md").read_text())
    page.write()
    for name in ("README.md", "docs/performance.md"):
        assert (tmp_path / name).read_text() == (PROJECT / name).read_text(), name


def test_a_better_simpler_method_is_named(results_page):
    columns = ["method", "period", "cohort", "n_user_months", "accuracy"]
    rows = [["birth_month_filter", "all", "all", 9, 0.5], ["carry_last", "all", "all", 9, 0.6]]
    seed = {"accuracy": {"columns": columns, "data": rows}}
    figures = {"commit": "", "python": "", "machine": "", "versions": {}, "figures": {"seeds": [seed]}}
    text = results_page.losses_to_simpler(results_page.Measured(figures))
    assert "last observation carried forward, by 10.0 points" in text


def test_every_method_of_the_accuracy_chart_has_a_line(results_page):
    """A name that the kept figures do not have would drop its line without an error."""
    picture = (PROJECT / "docs" / "pictures" / "accuracy_by_month.svg").read_text()
    assert [label for label in charts.METHODS.values() if label not in picture] == []
