"""Committed page of fault tests: it has every case, and no case failed."""

import re

from reliability import GROUPS, PAGE, TESTS, declared, written


def test_the_page_names_the_marked_faults():
    """Marked one? `.venv/bin/pytest -m fault --reliability -k its_name` writes its line."""
    marked = set(declared())
    assert {group for group, *_ in marked} <= set(GROUPS)
    assert set(written()) == marked


def test_a_fault_has_one_expected_outcome():
    cases = {(group, case) for group, case, _ in declared()}
    assert len(cases) == len(set(declared()))


def test_no_fault_of_the_page_failed():
    assert [line for line in written().values() if "**" in line] == []


def test_every_test_that_the_page_names_exists():
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    files = {path.name: path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")}
    assert len(named) > 50
    assert [name for file, name in sorted(named) if f"def {name}(" not in files[file]] == []
