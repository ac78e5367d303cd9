"""Report of a warehouse as one HTML file, without scripts or network access: python -m life_stage.report.report"""

import html
import os
import sys
from pathlib import Path

import duckdb
import pandas as pd

from life_stage import paths
from life_stage.commands.summary import HOUSEHOLDS, is_simulated
from life_stage.report import charts
from life_stage.report.report_panels import PANELS, ReportPanel

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 84rem; padding: 1rem; color: #1a1a1a; background: #fff }
main { display: grid; gap: 2rem 3rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 34rem), 1fr)) }
section { min-width: 0 }
.wide { grid-column: 1 / -1 }
h1 { line-height: 1.2 }
h2 { margin: 0; font-size: 1.25rem }
p { margin: .25rem 0 .75rem }
figure, .rows { margin: 0; overflow-x: auto }
svg { max-width: 100%; min-width: 24rem; height: auto }
table { border-collapse: collapse; font-size: .875rem }
th, td { padding: .2rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd }
td { max-width: 40rem }
.number { text-align: right; font-variant-numeric: tabular-nums }
summary { cursor: pointer; color: #00558c }
.empty { color: #555; font-style: italic }
:root { color-scheme: light }
.facts, .tiles { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; padding: 0; margin: .5rem 0 1.5rem; list-style: none }
.tiles li { flex: 1 1 7rem; border: 1px solid #ddd; border-radius: .4rem; padding: .5rem .75rem }
.tiles b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums }
.badge { border-radius: .3rem; padding: 0 .5rem; color: #fff; background: #595959 }
.alarm { background: #a33f00 }
@media (max-width: 34rem) { svg { min-width: 0 } }
@media print { section, .tiles li { break-inside: avoid } }
"""  # noqa: E501
TILES = """
    select stage, n_users, n_users - lag(n_users) over (partition by stage order by month) as n_more
    from stage_totals qualify month = max(month) over () order by stage_no
"""
LAST_RUN = "select max(started_at), max(through_month), min(month) from model_runs cross join month_calendar"
ALARMS = """
    select message from delivery_checks where is_wrong
    union all select reason || ' of ' || measure || ' in ' || strftime(month, '%Y-%m') from retraining_triggers
"""
REASONS = """
    with children as (
        select user_id, child_no from stage_reasons where rank = 7 order by md5(user_id), child_no limit 12
    )
    select user_id, child_no, stage, rank, reason, contribution, log_odds
    from stage_reasons join children using (user_id, child_no) order by md5(user_id), child_no, rank
"""


def write(warehouse: Path, report: Path, simulated: bool = False) -> int:
    """Write the report, marked as simulated where the data is; returns the number of its charts."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        stages = [stage for (stage,) in connection.sql("select stage from stages order by stage_no").fetchall()]
        sections = [section(panel, connection.sql(panel.sql).df(), stages) for panel in PANELS]
        month = connection.sql("select max(month) from user_stages").fetchall()[0][0]
        sections.append(attributions(connection.sql(REASONS).df()))
        header = headline(connection, simulated)
    report.parent.mkdir(parents=True, exist_ok=True)
    unfinished = report.with_name(report.name + ".new")
    title = f"Life stages as of {month:%B %Y}" if month else "Life stages: none published yet"
    title += " (simulated data)" if simulated else ""
    unfinished.write_text(page(title, header, sections), encoding="utf-8")
    os.replace(unfinished, report)
    return sum(text.count("<figure") for text in sections)


def headline(connection: duckdb.DuckDBPyConnection, simulated: bool) -> str:
    """What a reader asks first: how many users are in each stage, whether it is right, how new it is, what is wrong."""
    alarms = [text for (text,) in connection.sql(ALARMS).fetchall()]
    ((last_run, through, since),) = connection.sql(LAST_RUN).fetchall()
    facts = ['<span class="badge">SIMULATED</span>'] if simulated else []
    facts += [f'<span class="badge alarm">{html.escape(text)}</span>' for text in alarms]
    for share, _, error, _, n_users in connection.sql(HOUSEHOLDS).fetchall():
        on = f"on {n_users:,} held-out households"
        facts.append(f"{100 * share:.0f} % (± {196 * error:.0f}) of the rows right by behaviour alone, {on}")
    if through:
        facts.append(f"data from {since:%B %Y} through {through:%B %Y}")
    facts += [f"last successful run {last_run:%Y-%m-%d %H:%M} UTC"] if last_run else []
    facts += [] if alarms else ["no alarms"]
    tiles = "".join(
        f"<li>{html.escape(stage)}<b>{'few' if n_users is None else f'{n_users:,}'}</b>{change(n_more)}</li>"
        for stage, n_users, n_more in connection.sql(TILES).fetchall()
    )
    lines = "".join(f"<li>{fact}</li>" for fact in facts)
    return f'<ul class="facts">{lines}</ul><ul class="tiles" aria-label="Users by stage">{tiles}</ul>'


def change(n_more: int | None) -> str:
    """The difference to the month before in words."""
    return "no comparison" if n_more is None else f"{n_more:+,} since the month before"


def section(panel: ReportPanel, rows: pd.DataFrame, stages: list[str]) -> str:
    """The panel's chart with its rows, which also serve readers who cannot see the chart."""
    if rows.empty:
        body = '<p class="empty">Nothing to show yet.</p>'
    elif panel.draw is None:
        body = table(rows) if len(rows) <= 12 else f"<details><summary>Show them</summary>{table(rows)}</details>"
    else:
        chart = charts.svg(panel.draw(rows, stages))
        label = html.escape(f"Chart: {panel.title}", quote=True)
        body = f'<figure role="img" aria-label="{label}">{chart}</figure>'
        body += f"<details><summary>The rows behind it</summary>{table(rows)}</details>"
    kind = ' class="wide"' if panel.draw is None else ""
    return f"<section{kind}><h2>{html.escape(panel.title)}</h2><p>{html.escape(panel.text)}</p>{body}</section>"


def attributions(rows: pd.DataFrame) -> str:
    """Feature attributions of a dozen children, collapsed."""
    children = [
        f"<details><summary>User {html.escape(user)}, child {child_no}: {html.escape(group['stage'].iloc[0])}, "
        f"log-odds {group['log_odds'].iloc[0]:+.2f}</summary>{table(group[['reason', 'contribution']])}</details>"
        for (user, child_no), group in rows.groupby(["user_id", "child_no"], sort=False)
    ]
    text = "A sample of users active in the newest month; the rows of a child add up to the log-odds of its stage."
    return f"<section><h2>Feature attributions</h2><p>{text}</p>{''.join(children) or '<p>None yet.</p>'}</section>"


def table(rows: pd.DataFrame) -> str:
    """The rows as HTML."""
    head = "".join(f'<th scope="col">{html.escape(name.replace("_", " "))}</th>' for name in rows.columns)
    lines = ("".join(cell(value) for value in row) for row in rows.itertuples(index=False))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="rows"><table><tr>{head}</tr>{body}</table></div>'


def cell(value: object) -> str:
    """A table cell; numbers are right-aligned."""
    if pd.isna(value):
        return "<td></td>"
    if isinstance(value, float):
        return f'<td class="number">{value:,.0f}</td>' if value.is_integer() else f'<td class="number">{value:.3f}</td>'
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{html.escape(str(value))}</td>"


def page(title: str, header: str, sections: list[str]) -> str:
    """The whole file. Its content security policy blocks every request."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f'<body data-ready="true"><h1>{title}</h1>{header}<main>{"".join(sections)}</main></body></html>'
    )


def main() -> None:
    """Write the report of LIFE_STAGE_WAREHOUSE next to LIFE_STAGE_PUBLISHED."""
    warehouse = paths.warehouse()
    published = paths.published()
    report = published.with_name(published.name + ".html")
    try:
        n_charts = write(warehouse, report, is_simulated(paths.source()))
    except duckdb.Error as error:
        sys.exit(f"LS-SUM-002 no report of {warehouse} can be written: {error}: run make build first")
    print(f"Report      {paths.shown(report)} ({n_charts} charts)")


if __name__ == "__main__":
    main()
