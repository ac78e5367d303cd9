"""HTML of the report: the page with its tabs, tables, bars, matrices and small multiples. All texts are escaped."""

import base64
import hashlib
import html
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import pandas as pd

STYLE, SCRIPT = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("style.css", "tabs.js"))

LONG = 40  # characters of a table cell from which it has several lines


@dataclass(frozen=True)
class Bar:
    """A value with its label, and where they are known its interval and its thresholds."""

    label: str
    value: float
    text: str
    interval: tuple[float, float] | None = None
    thresholds: tuple[float, ...] = ()
    kind: str = ""  # `bad` for a failure, a mistake, a negative value


def bars(found: Iterable[Bar], full: float | None = None) -> str:
    """Horizontal bars with their values in words; `full` is the value of a whole bar."""
    found = list(found)
    ends = [edge for bar in found for edge in (abs(bar.value), *(bar.interval or ()), *bar.thresholds)]
    full = full or max(ends, default=0) or 1.0

    def share(value: float) -> str:
        return f"{100 * min(max(value / full, 0), 1):.1f}%"

    lines = []
    for bar in found:
        marks = f'<i class="{bar.kind}" style="width:{share(abs(bar.value))}"></i>'
        if bar.interval:
            low, high = (min(max(edge / full, 0), 1) for edge in bar.interval)
            marks += f'<b style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></b>'
        marks += "".join(f'<s style="left:{share(edge)}"></s>' for edge in bar.thresholds)
        label, text = html.escape(bar.label), html.escape(bar.text)
        lines.append(f'<li><span>{label}</span><span class="track">{marks}</span><span>{text}</span></li>')
    return f'<ul class="bars">{"".join(lines)}</ul>'


def matrix(cells: dict[tuple[str, str], float], down: list[str], across: list[str], corner: str) -> str:
    """A table of shares, shaded by size; shares off the diagonal are shaded as mistakes, if both ways are the same."""
    is_square = down == across
    head = "".join(f'<th scope="col"><span>{html.escape(name)}</span></th>' for name in across)
    lines = []
    for row in down:
        line = ""
        for column in across:
            share = cells.get((row, column), 0.0)
            kind = "bad" if is_square and row != column else "good"
            shade = 5 + 55 * share if kind == "good" else min(5 + 220 * share, 60)
            text = f"{100 * share:.0f}" if share >= 0.005 else "<1" if share > 0 else ""
            style = f' class="{kind}" style="--shade:{shade:.0f}%"' if share > 0 else ""
            line += f"<td{style}>{html.escape(text)}</td>"
        lines.append(f'<tr><th scope="row">{html.escape(row)}</th>{line}</tr>')
    body = f"<tr><td>{html.escape(corner)}</td>{head}</tr>{''.join(lines)}"
    return f'<div class="rows"><table class="matrix">{body}</table></div>'


def multiples(parts: dict[str, str]) -> str:
    """Small drawings of the same kind side by side, each below its caption."""
    found = "".join(f"<div><h4>{html.escape(caption)}</h4>{part}</div>" for caption, part in parts.items())
    return f'<div class="multiples">{found}</div>'


def table(rows: pd.DataFrame) -> str:
    """The rows as HTML."""
    head = "".join(f'<th scope="col">{html.escape(name.replace("_", " "))}</th>' for name in rows.columns)
    lines = ("".join(cell(value) for value in row) for row in rows.itertuples(index=False))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="rows" role="region" aria-label="Rows" tabindex="0"><table><tr>{head}</tr>{body}</table></div>'


def cell(value: object) -> str:
    """A table cell; numbers are right-aligned."""
    if pd.isna(value):
        return "<td></td>"
    if isinstance(value, float):
        return f'<td class="number">{value:,.0f}</td>' if value.is_integer() else f'<td class="number">{value:.3f}</td>'
    if isinstance(value, Integral) and not isinstance(value, bool):
        return f'<td class="number">{value:,}</td>'
    text = html.escape(str(value))
    return f'<td class="long">{text}</td>' if len(text) > LONG else f"<td>{text}</td>"


def key_of(name: str) -> str:
    """The id of a tab in links."""
    return name.lower().replace(" ", "-")


def tab(name: str, readers: str, sections: Iterable[str]) -> str:
    """A part of the page; without the script all parts follow each other."""
    key = key_of(name)
    head = f'<h2 id="{key}-title">{name}</h2>' + (f'<p class="readers">{html.escape(readers)}</p>' if readers else "")
    return (
        f'<section class="tab" id="{key}" aria-labelledby="{key}-title">{head}<div>{"".join(sections)}</div></section>'
    )


def page(title: str, header: str, tabs: dict[str, str]) -> str:
    """The whole file; tabs: {name: HTML}. Its content security policy allows the script above and no request."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    links = "".join(f'<li><a id="to-{key_of(name)}" href="#{key_of(name)}">{name}</a></li>' for name in tabs)
    nav = f'<nav aria-label="Parts of the report"><ul>{links}</ul></nav>' if len(tabs) > 1 else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="color-scheme" content="light dark">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f'<body data-ready="true"><header><h1>{html.escape(title)}</h1>{header}</header>{nav}'
        f"<main>{''.join(tabs.values())}</main><script>{SCRIPT}</script></body></html>"
    )
