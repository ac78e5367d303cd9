"""Generator of docs/reliability.md: one row per case of the tests marked `fault(group, case, expected)`.

`pytest -m fault --reliability` writes docs/reliability.md; without the option the marks change nothing.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parents[1] / "docs" / "reliability.md"
GROUPS = ("Months and runs", "Kills", "Rows", "Text", "Files and columns", "Registrations", "Training", "State")
GROUPS += ("Machine", "Settings", "Plausible deliveries")
HEAD = """\
# Fault tests

{n_cases} cases and {n_inputs:,} random inputs (hypothesis), written by `make reliability`.
`pytest -m fault --reliability -k kill` renews the rows of the tests it runs.

⏳ marks cases of `make test-slow` only. A code: the run fails with that error of [errors.md](errors.md), or logs it if
it is a notice. No change: all tables and published files equal those before the run. Rejected: in the quarantine with
its reason. In parentheses: observations beyond the expected outcome.

"""
NOT_RUN = "not run yet"
OBSERVATIONS = " (observed: "
OBSERVED: list[str] = []
# {observation: the words of an expected outcome that it repeats}
SAME_AS = {
    "all tables and published files unchanged": ("no change",),
    "all published files unchanged": ("nothing published", "published set kept"),
}


def observe(what: str) -> None:
    """Record an observation of the running test for the page."""
    OBSERVED.append(what)


def adds_to(expected: str, what: str) -> bool:
    """True unless the observation repeats the expected outcome or is a run that succeeded or was killed."""
    if run := re.match(r"run (succeeded|killed|failed)", what):
        return run[1] == "failed" and not all(code in expected for code in re.findall(r"LS-[A-Z]+-\d{3}", what))
    return not any(words in expected for words in (what, *SAME_AS.get(what, ())))


def summary(expected: str, observed: list[str]) -> str:
    """Each observation beyond the expected outcome once, in order, with its count."""
    counts = {what: observed.count(what) for what in observed if adds_to(expected, what)}
    return "; ".join(what if n == 1 else f"{n}x {what}" for what, n in counts.items())


def pytest_addoption(parser):
    parser.addoption("--reliability", action="store_true", help="write docs/reliability.md from the faults that ran")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call():
    OBSERVED.clear()  # observations of shared fixtures belong to no test


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Observations of a test process reach the writing process with its report."""
    if call.when == "call":
        tried = sum(map(int, re.findall(r"(\d+) passing", getattr(item, "hypothesis_statistics", ""))))
        for mark in item.iter_markers("fault"):
            row = [*mark.args, summary(mark.args[-1], OBSERVED), tried, bool(item.get_closest_marker("slow"))]
            item.user_properties.append(("fault", row))
    return (yield)


class Page:
    """Collects the rows of the table as tests end, and writes it when all have."""

    def __init__(self):
        self.rows = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            faults = [row for name, row in report.user_properties if name == "fault"]
            self.rows += [(*row, report.outcome, report.nodeid) for row in faults]

    def pytest_sessionfinish(self):
        PAGE.write_text(page(self.rows, written()), encoding="utf-8")


def pytest_configure(config):
    if config.getoption("--reliability") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Page())


def page(rows: list[tuple], before: dict[tuple[str, str, str], str]) -> str:
    """The document: a table per group, a line per case. Cases that did not run keep their line."""
    cases: dict[tuple[str, str, str], list[tuple]] = {case: [] for case in declared()}
    for group, case, expected, *facts in rows:
        cases[(group, case, expected)].append(facts)
    lines = {c: line(*c[1:], facts) if facts else before.get(c, line(*c[1:], facts)) for c, facts in cases.items()}
    n_inputs = sum(int(n) for text in lines.values() for n in re.findall(r"(\d+) random inputs", text))
    parts = [HEAD.format(n_cases=len(lines), n_inputs=n_inputs)]
    for group in GROUPS:
        of_group = "".join(text for case, text in sorted(lines.items()) if case[0] == group)
        parts.append(f"## {group}\n| case | expected | test |\n|---|---|---|\n{of_group}\n")
    return "".join(parts).rstrip() + "\n"


def written() -> dict[tuple[str, str, str], str]:
    """The lines of the page as it is: {(group, case, expected): line}."""
    lines, group = {}, ""
    for text in PAGE.read_text(encoding="utf-8").splitlines(keepends=True) if PAGE.exists() else []:
        if text.startswith("## "):
            group = text.removeprefix("## ").strip()
        elif group and text.startswith("| ") and not text.startswith("| case "):
            case, expected, _ = text.removeprefix("| ").split(" | ", 2)
            lines[(group, case.removesuffix(" ⏳"), expected.split(OBSERVATIONS)[0])] = text
    return lines


def line(case: str, expected: str, facts: list[tuple]) -> str:
    """A line of the table: observations of all tests of the case; other outcomes than success in bold."""
    seen = list(dict.fromkeys(observed for observed, *_ in facts if observed)) if facts else [NOT_RUN]
    seen += [f"{tried} random inputs" for _, tried, *_ in facts if tried]
    seen += [f"**{outcome}**" for *_, outcome, _ in facts if outcome != "passed"]
    tests = dict.fromkeys(nodeid.split("[")[0].split("/")[-1] for *_, nodeid in facts)
    slow = " ⏳" if facts and all(is_slow for _, _, is_slow, *_ in facts) else ""
    observed = f"{OBSERVATIONS}{'; '.join(seen)})" if seen else ""
    return f"| {case}{slow} | {expected}{observed} | {', '.join(f'`{test}`' for test in tests)} |\n"


def declared() -> Iterator[tuple[str, str, str]]:
    """Group, case and expected outcome of every mark in the tests' code, whether it is run or not."""
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            is_mark = isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault"
            if is_mark and not isinstance(node.args[0], ast.Starred):
                yield tuple(ast.literal_eval(argument) for argument in node.args)
    from faults.test_deliveries import FAULTS  # a table of cases; the module imports this one

    yield from FAULTS.values()
