"""Phases and errors of a run: for the console, the run summary and model_runs. dbt's hooks call them too."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

PHASES = ("staging", "features", "training", "filtering", "evaluation", "marts", "checkout", "monitoring", "published")
CODED = re.compile(r"(LS-[A-Z]+-\d{3}) (.*)")
OUTCOME = re.compile(r"; (nothing|no month|the month|\d+ users) (was|were) .*")

n_erased = 0  # users, in this process


def phases_of(selected: Iterable[str], nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """{node: its phase} of the selected nodes that a run builds: ids, and dbt's graph of nodes."""
    return {name: phase_of(nodes[name], nodes) for name in selected if name in nodes}


def phase_of(node: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> str:
    """Folder of a model; seeds are staged; the phase of a test is the last one of the tables it reads."""
    if node["resource_type"] == "seed":
        return "staging"
    if node["resource_type"] == "model":
        folder = node["path"].removeprefix("life_stage/").partition("/")[0]
        return "published" if node["name"] == "published_marts" else folder
    read = [phase_of(nodes[parent], nodes) for parent in node["depends_on"]["nodes"] if parent in nodes]
    return max(read, key=lambda phase: PHASES.index(phase) if phase in PHASES else -1, default="staging")


def errors_of(node: str, resource_type: str, text: str) -> list[dict[str, str]]:
    """The coded errors in dbt's text about a node, without the engine's own lines, which may hold values."""
    if not (found := CODED.findall(text)):
        n_rows = re.search(r"Got (\d+) results?", text) if resource_type == "test" else None
        first_line = text.strip().partition("\n")[0]
        found = CODED.findall(
            f"LS-RUN-008 data test {node} failed with {n_rows[1]} rows: read them by its query, whose file dbt's log"
            " names, and correct their cause"
            if n_rows
            else f"LS-RUN-009 {node} failed ({first_line}): read the end of dbt's log"
        )
    return [{"code": code, "message": message.strip(), "node": node} for code, message in dict.fromkeys(found)]


def outcome() -> str:
    """What a check that stops a run has left behind."""
    return f"{n_erased} users were erased, nothing else was changed" if n_erased else "nothing was changed"


def remedy_of(message: str) -> str:
    """What to do next: the text after the last colon of a message, unless it is one word as in `on_shift: warn`."""
    found = re.fullmatch(r".*: (\S+ .+)", OUTCOME.sub("", message))
    return found[1] if found else message
