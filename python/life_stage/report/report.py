"""Report of a warehouse as one HTML file, without network access: python -m life_stage.report.report"""

import html
import sys
from datetime import date
from pathlib import Path

import duckdb
import pandas as pd

from life_stage import paths
from life_stage.commands.summary import HOUSEHOLDS, between, is_simulated
from life_stage.report import audience, data, explain, onboarding, quality
from life_stage.report.charts import sparkline
from life_stage.report.markup import page, tab
from life_stage.report.panels import FEW, Panel, month_name

MAX_AGE_DAYS = 40  # of the last success; the job is monthly
TABS = {
    "Audience": (f"Marketing and BI: who is in which stage, and who moves. {FEW}", audience.PANELS),
    "Quality": (f"Data science: how right the stages are on held-out users. {FEW}", quality.PANELS),
    "Data": (f"Operators and data suppliers: what was delivered, and what changed. {FEW}", data.DATA),
    "Runs": ("Operators: what the job did.", data.RUNS),
}
TILES = """
    select stage, n_users, n_users - lag(n_users) over (partition by stage order by month) as n_more,
        list(n_users) over (partition by stage order by month) as n_by_month,
        lag(month) over (partition by stage order by month) as month_before
    from stage_totals qualify month = max(month) over () order by stage_no
"""
SINCE = "select min(month) from month_calendar"
ALARMS = """
    select message from delivery_checks where is_wrong
    union all select reason || ' of ' || measure || ' in ' || strftime(month, '%Y-%m') from retraining_triggers
"""


def write(warehouse: Path, report: Path, simulated: bool = False, alarm: str = "") -> int:
    """Write the report with a mark for simulated data and one more alarm; returns the number of its charts."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        has_model = connection.sql("select exists (from model_registry) or exists (from user_stages)").fetchall()[0][0]
        header = headline(connection, simulated, has_model, alarm)
        month = connection.sql("select max(month) from user_stages").fetchall()[0][0]
        stages = [stage for (stage,) in connection.sql("select stage from stages order by stage_no").fetchall()]
        tabs = {
            name: tab(name, readers, [shown(panel, connection, stages) for panel in panels])
            for name, (readers, panels) in TABS.items()
        }
        if has_model:
            tabs["Explain"] = tab("Explain", explain.READERS, explain.sample(connection, report))
        else:
            start = tab("Start", onboarding.READERS, onboarding.sections(connection, stages))
            tabs = {"Start": start, "Data": tabs["Data"], "Runs": tabs["Runs"]}
    title = f"Life stages as of {month_name(month)}" if month else "Life stages: none published yet"
    title += " (simulated data)" if simulated else ""
    paths.write_whole(report, page(title, header, tabs))
    return sum(part.count("<figure") for part in tabs.values())


def shown(panel: Panel, connection: duckdb.DuckDBPyConnection, stages: list[str]) -> str:
    """A panel with its rows."""
    return panel.shown(connection.sql(panel.sql).df(), stages)


def headline(connection: duckdb.DuckDBPyConnection, simulated: bool, has_model: bool, alarm: str) -> str:
    """What a reader asks first: how many users are in each stage, whether it is right, how new it is, what is wrong."""
    runs = connection.sql("from model_runs order by started_at desc").df()
    alarms = [text for (text,) in connection.sql(ALARMS).fetchall()] + failure(runs)
    alarms += [] if has_model else ["no model (LS-ML-001)"]
    alarms = list(dict.fromkeys(alarms + [alarm] * bool(alarm)))
    facts = ['<span class="badge">SIMULATED</span>'] if simulated else []
    facts += [f'<span class="badge alarm">{html.escape(text)}</span>' for text in alarms] or ["no alarms"]
    for share, low, high, *_, n_users in connection.sql(HOUSEHOLDS).fetchall():
        facts.append(
            f"<b>{100 * share:.0f} %</b> ({between(low, high)}) of the rows right by behaviour alone,"
            f" on {n_users:,} held-out households"
        )
    through = runs["through_month"].max()
    if not pd.isna(through):
        since = connection.sql(SINCE).fetchall()[0][0]
        facts.append(f"data from {month_name(since)} through <b>{month_name(through)}</b>")
    facts.append(last_success(runs))
    tiles = "".join(
        f"<li>{html.escape(stage)}<b>{'few' if n_users is None else f'{n_users:,}'}</b>"
        f"<small>{change(n_more, before)}</small>{sparkline(n_by_month)}</li>"
        for stage, n_users, n_more, n_by_month, before in connection.sql(TILES).fetchall()
    )
    lines = "".join(f"<li>{fact}</li>" for fact in facts)
    users = f'<ul class="tiles" aria-label="Users by stage">{tiles}</ul>' if tiles else ""
    return f'<ul class="facts" aria-label="State of the data">{lines}</ul>{users}'


def failure(runs: pd.DataFrame) -> list[str]:
    """The newest run with its error, if it failed."""
    if runs.empty or runs["status"].iloc[0] == "succeeded":
        return []
    newest = runs.iloc[0]
    return [f"newest run failed: {newest['error_code']} {newest['error']}"]


def last_success(runs: pd.DataFrame) -> str:
    """When a run last succeeded; the script adds its age on the day the page is opened."""
    started = runs.loc[runs["status"] == "succeeded", "started_at"].max()
    if pd.isna(started):
        return "no successful run yet"
    attributes = f'datetime="{started:%Y-%m-%dT%H:%M:%SZ}" data-alarm-days="{MAX_AGE_DAYS}"'
    return f"last success <time {attributes}>{started:%Y-%m-%d %H:%M} UTC</time>"


def change(n_more: int | None, before: date | None) -> str:
    """The difference to the month before in words."""
    return "no comparison" if n_more is None else f"{n_more:+,} since {before:%B}"


def main() -> None:
    """Write the report of LIFE_STAGE_WAREHOUSE next to LIFE_STAGE_PUBLISHED."""
    warehouse, report = paths.warehouse(), paths.report()
    try:
        n_charts = write(warehouse, report, is_simulated(paths.source()))
    except duckdb.Error as error:
        sys.exit(f"LS-SUM-002 no report of {warehouse} can be written: {error}: run make build first")
    print(f"Report      {paths.shown(report)} ({n_charts} charts)")


if __name__ == "__main__":
    main()
