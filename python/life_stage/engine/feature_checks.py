"""Rules for the SQL files of feature groups: what they may read and return. Each broken one has a code."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

FOLDER = "models/life_stage/features"
# With actions, items and their texts alone behind them. Everything else descends from registrations or predictions.
READABLE = (
    "stg_actions",
    "stg_items",
    "month_calendar",
    "search_terms",
    "search_words",
    "text_ages",
    "user_months",
    "implausible_users",
)
SHAPES = (
    ("item_id", "feature"),
    ("search_term", "feature"),
    ("user_id", "month", "feature", "value"),
)
LAST_SEMICOLON = re.compile(r";\s*(--[^\n]*\s*)*\Z")
Nodes = Mapping[str, Mapping[str, Any]]


def groups_in(nodes: Nodes) -> dict[str, Mapping[str, Any]]:
    """The feature groups of a dbt graph by name."""
    return {
        node["name"]: node
        for node in nodes.values()
        if node["resource_type"] == "model"
        and node["original_file_path"].startswith(f"{FOLDER}/")
        and node["name"].startswith("feature_")
    }


def wrong_text(name: str, text: str) -> str | None:
    """The message about a file's text that no engine would run."""
    if LAST_SEMICOLON.search(text):
        return f"LS-FEA-006 {FOLDER}/{name}.sql ends with a semicolon: remove it, because the text is part of a query"
    return None


def wrong_reads(node: Mapping[str, Any], nodes: Nodes) -> str | None:
    """The message about a feature group that reads no model, or reads registrations or predictions."""
    file = f"{FOLDER}/{node['name']}.sql"
    if not node["depends_on"]["nodes"]:
        return f'LS-FEA-007 {file} reads no model: write {{{{ ref("stg_actions") }}}} in place of a table\'s name'
    for path in leaks_of(node, nodes):
        return (
            f"LS-FEA-008 {file} reads {' <- '.join(path)}: read only {', '.join(READABLE)}, because registrations,"
            " labels and predictions would be the answer itself"
        )
    return None


def leaks_of(node: Mapping[str, Any], nodes: Nodes) -> Iterator[tuple[str, ...]]:
    """Paths from the group to sources that do not pass a readable model, by names; seeds are no leak."""
    for parent in node["depends_on"]["nodes"]:
        name = parent.rsplit(".", 1)[-1]
        if parent.startswith("source."):
            yield (name,)
        elif name not in READABLE and parent in nodes:
            yield from ((name, *path) for path in leaks_of(nodes[parent], nodes))


def wrong_columns_of_group(name: str, columns: Iterable[str]) -> str | None:
    """The message about columns that are none of SHAPES."""
    found = list(columns)
    if any(sorted(found) == sorted(shape) for shape in SHAPES):
        return None
    return (
        f"LS-FEA-002 {FOLDER}/{name}.sql returns {', '.join(found)}: return (item_id, feature), (search_term, feature)"
        " or (user_id, month, feature, value); no month was counted and no model trained"
    )
