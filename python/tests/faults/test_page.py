"""The committed page names every case there is, and nothing in it failed or was left out."""

import re

from reliability import GROUPS, NOT_RUN, PAGE, declared


def committed() -> dict[tuple[str, str, str], str]:
    """Group, case and expected outcome of each line of the page, and what was observed."""
    lines, group = {}, ""
    for text in PAGE.read_text(encoding="utf-8").splitlines():
        if text.startswith("## "):
            group = text.removeprefix("## ")
        elif group and text.startswith("| ") and not text.startswith("| case "):
            case, expected, observed, _ = re.split(r" \| ", text.removeprefix("| ").removesuffix(" |"))
            lines[(group, case.removesuffix(" ⏳"), expected)] = observed
    return lines


def test_the_page_names_the_cases_that_are_marked():
    """Marked one? `make reliability` writes the page anew."""
    marked = set(declared())
    assert {group for group, *_ in marked} <= set(GROUPS)
    assert set(committed()) == marked


def test_a_case_has_one_expected_outcome():
    cases = {(group, case) for group, case, _ in declared()}
    assert len(cases) == len(set(declared()))


def test_every_case_of_the_page_was_tried_and_held():
    assert {case: seen for case, seen in committed().items() if NOT_RUN in seen or "**" in seen} == {}
