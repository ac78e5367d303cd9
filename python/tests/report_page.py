"""Reading of the report's HTML in tests, and warehouses changed for it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import duckdb

from life_stage.report import audience, data, explain, quality
from life_stage.report.panels import slug

PANELS = [*audience.PANELS, *quality.PANELS, *data.DATA, *data.RUNS, explain.KINDS]


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def article(text: str, name: str) -> str:
    """The HTML of a panel."""
    found = re.findall(rf'<article[^>]* id="{slug(name)}">(.*?)</article>', text, flags=re.S)
    assert len(found) == 1, name
    return found[0]


def changed(old: Path, new: Path, *statements: str) -> Path:
    """A copy of a warehouse after some statements."""
    with duckdb.connect() as connection:
        connection.execute(f"attach '{old}' as old (read_only); attach '{new}' as new")
        connection.execute("copy from database old to new")
        connection.execute("use new")
        for statement in statements:
            connection.execute(statement)
    return new
