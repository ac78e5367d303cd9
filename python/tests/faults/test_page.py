"""Committed page of fault tests: it has every case, and no case failed."""

from reliability import GROUPS, declared, written


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
