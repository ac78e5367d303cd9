"""Rules for the SQL files of feature groups: what they may read and return. Each broken one has a code."""

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError

from life_stage.mapping import without_comments

FOLDER = "models/life_stage/features"
# Models with actions, items and their texts alone behind them.
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
JINJA_COMMENTS = re.compile(r"{#.*?#}", re.DOTALL)
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
    if without_comments(JINJA_COMMENTS.sub("", text)).rstrip().endswith(";"):
        return f"LS-FEA-006 {FOLDER}/{name}.sql ends with a semicolon: remove it, because the text is part of a query"
    return None


def wrong_reads(node: Mapping[str, Any]) -> str | None:
    """The message about a feature group of a dbt graph whose refs are none, or lead to more than READABLE."""
    parents = [parent.split(".") for parent in node["depends_on"]["nodes"]]
    return wrong_names(
        node["name"], [name for _, *_, name in parents], {name for kind, *_, name in parents if kind == "seed"}
    )


def wrong_names(group: str, names: list[str], seeds: Container[str]) -> str | None:
    """The message about a feature group that reads tables of these names: none, or more than READABLE and seeds."""
    file = f"{FOLDER}/{group}.sql"
    if not names:
        return f'LS-FEA-007 {file} reads no model: write {{{{ ref("stg_actions") }}}} in place of a table\'s name'
    if leaks := [name for name in names if name not in READABLE and name not in seeds]:
        return (
            f"LS-FEA-008 {file} reads {', '.join(leaks)}: read only {', '.join(READABLE)} and seeds, because"
            " registrations, labels and predictions would be the answer itself"
        )
    return None


def rendered(text: str) -> tuple[str, list[str]] | None:
    """The SQL of a file on the database `memory`, and the names it reads; None if it needs more of dbt than ref()."""
    names: list[str] = []

    def named(*words: str) -> str:
        names.append(words[-1])
        return f'"memory"."main"."{words[-1]}"'

    environment = Environment(undefined=StrictUndefined)
    environment.globals |= {"ref": named, "source": named, "config": lambda **_: ""}
    try:
        return environment.from_string(text).render(), names
    except TemplateError:
        return None


def wrong_columns_of_group(name: str, columns: Iterable[str]) -> str | None:
    """The message about columns that are none of SHAPES."""
    found = list(columns)
    if any(sorted(found) == sorted(shape) for shape in SHAPES):
        return None
    return (
        f"LS-FEA-002 {FOLDER}/{name}.sql returns {', '.join(found)}: return (item_id, feature), (search_term, feature)"
        " or (user_id, month, feature, value); no month was counted and no model trained"
    )
