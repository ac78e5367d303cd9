"""The prose check of `make lint` finds each kind of finding, and nothing in plain text."""

import prose
import pytest


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A checker of one page with the given text, below a project of its own."""
    monkeypatch.setattr(prose, "PROJECT", tmp_path)

    def findings(text: str) -> list[str]:
        (tmp_path / "page.md").write_text(text)
        return [f"{number}: {finding}" for number, finding in prose.check_page(tmp_path / "page.md")]

    return findings


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("# Title\nRows that are set aside.", "2: 'set aside': rejected; quarantine"),
        ("Title: What a month predicts.", "1: a sentence begins with 'What'"),
        ("| model | Which model it is |", "1: a sentence begins with 'Which'"),
        ("A model of the evidence.", "1: 'evidence': log-likelihood"),
        (f"{'long ' * 25}", "1: 125 characters, at most 120"),
        ("See [there](nowhere.md#part).", "1: link to nowhere.md, which does not exist"),
    ],
)
def test_a_page_with_a_fault_is_found(page, text, finding):
    assert finding in page(text)


def test_plain_text_and_code_have_no_findings(page):
    assert page("# Title\nA posterior, see `fold` and [here](page.md).\n```\nwhat is said\n```\n## Evidence\n") == []


@pytest.mark.parametrize(
    ("name", "text", "finding"),
    [
        ("model.sql", "-- How old a child is.\nselect 1", "a sentence begins with 'How'"),
        ("model.sql", "select 1", "no comment or docstring in the first line"),
        ("module.py", '"""The belief of a user."""', "'belief': posterior"),
        ("model.py", "# Scores of a month, judged.\n", "'judged': validate (rows), evaluate (models)"),
        ("macros/a.sql", "{# Ages. #}\n{% macro a(b) %} 1 {% endmacro %}", "macro a has no comment"),
    ],
)
def test_a_file_with_a_fault_is_found(tmp_path, name, text, finding):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert finding in [found for _, found in prose.check_file(path)]
