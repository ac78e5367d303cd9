"""Panels of the report: a query, the finding that its rows show, and how they are drawn."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from life_stage.report.markup import table

FEW = "Counts of few users are suppressed (var marts_min_cell_users)."
ENOUGH = 20  # user-months, expected children or runs below which a title names no finding


@dataclass(frozen=True)
class Panel:
    """A plain name, the query, its finding as a title (empty: too little data), the drawing, and how to read it.

    Without a drawing the rows are shown as a table.
    """

    name: str
    sql: str
    title: Callable[[pd.DataFrame], str]
    text: str = ""
    draw: Callable[[pd.DataFrame, list[str]], str] | None = None
    wide: bool = False
    empty: str = "Nothing to show yet."
    n_open: int = ENOUGH  # rows of a table that is not folded

    def shown(self, rows: pd.DataFrame, stages: list[str], within: str = "") -> str:
        """The panel as HTML: name, finding, figure, text, and the rows, also for readers who cannot see the figure."""
        finding = "" if rows.empty else self.title(rows)
        small = f'<span class="name">{html.escape(self.name)}</span> ' if finding else ""
        heading = f"<h3>{small}{escaped(finding or self.name)}</h3>"
        if rows.empty:
            body = f'<p class="empty">{html.escape(self.empty)}</p>'
        elif self.draw is None:
            body = table(rows) if len(rows) <= self.n_open else folded("Show the rows", table(rows))
        else:
            label = html.escape(f"Chart: {finding or self.name}. Its rows follow.", quote=True)
            drawn = self.draw(rows, stages).replace("<svg xmlns", f'<svg role="img" aria-label="{label}" xmlns')
            body = f"<figure>{drawn}</figure>"
        behind = folded("The rows behind it", table(rows)) if self.draw and not rows.empty else ""
        text = f'<p class="text">{html.escape(self.text)}</p>' if self.text else ""
        kind = ' class="wide"' if self.wide else ""
        return f'<article{kind} id="{slug(within + self.name)}">{heading}{body}{text}{behind}</article>'


def folded(summary: str, body: str, kind: str = "rows-behind", is_open: bool = False) -> str:
    """A disclosure; its summary is text."""
    return f'<details class="{kind}"{" open" * is_open}><summary>{escaped(summary)}</summary>{body}</details>'


def escaped(text: str) -> str:
    """The text as HTML; a percent sign stays with its number."""
    return html.escape(text).replace(" %", "&nbsp;%")


def slug(name: str) -> str:
    """The id of a panel in links."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def percent(share: float) -> str:
    """A share in words: whole percents, below 10 % two digits."""
    points = 100 * share
    if 99.5 <= points < 100:
        return ">99 %"
    return f"{points:.0f} %" if abs(points) >= 9.5 or points == 0 else f"{points:.2g} %"


def month_name(month: object) -> str:
    """A month in words: February 2017."""
    return f"{pd.Timestamp(month):%B %Y}"


def duration(seconds: float) -> str:
    """A time in words: 1 min 18 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest if not hours else 0, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def number_of(count: int, noun: str) -> str:
    """A count with its noun: 1 check, 2 checks."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
