"""Generated pages, their pictures and tables against bench/pages.py's output from the stored figures."""

import importlib
from pathlib import Path

import pandas as pd
import pytest

from life_stage.report import charts

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "bench"))
    return importlib.import_module("pages")


@pytest.mark.parametrize("page", ["methods_page", "performance_page", "checkout_page"])
def test_pages_are_written_from_the_stored_figures(pages, page):
    """Run bench/pages.py after a measurement or a change of a template."""
    written = getattr(pages, page)()
    assert [path for path, text in written.items() if (PROJECT / path).read_text() != text] == []


def test_a_better_simpler_method_is_named(pages):
    rows = {"method": ["birth_month_filter", "carry_last"], "period": "all", "cohort": "all", "accuracy": [0.5, 0.6]}
    accuracy = pd.DataFrame(rows).set_index(["period", "cohort", "method"])
    assert pages.simpler_methods_ahead(accuracy) == [("all", "all", "carry_last", pytest.approx(0.1))]


def test_every_method_of_the_accuracy_chart_has_a_line():
    """A name that the kept figures do not have would drop its line without an error."""
    picture = (PROJECT / "docs" / "pictures" / "accuracy_by_month.svg").read_text()
    assert [label for label in charts.METHODS.values() if label not in picture] == []
