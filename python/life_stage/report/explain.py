"""Explanations: the reasons of a sample of children for the report, and one page about any user.

`life-stage explain 42` writes the page next to the report, readable by its owner only.
"""

import html
import math
import sys
from pathlib import Path

import duckdb
import pandas as pd

from life_stage import paths
from life_stage.report import charts
from life_stage.report.markup import Bar, bars, matrix, page, tab
from life_stage.report.panels import ENOUGH, Panel, folded, month_name, percent

READERS = "Anybody who asks why: the reasons of a sample of children, and of any user."
N_SHOWN = 300  # rows of actions on a user's page
BESIDE_STAGES = {"no_child": "#c9ced4", "not_expecting": "#9aa3ad", "aged_out": "#6b7580"}  # states without a stage
SAMPLE = """
    with children as (
        select user_id, child_no from stage_reasons where rank = 7 order by md5(user_id), child_no limit 12
    )
    select user_id, child_no, stage, rank, reason, contribution, log_odds
    from stage_reasons join children using (user_id, child_no) order by md5(user_id), child_no, rank
"""
CHILDREN = "select distinct child_no from user_stage_months where user_id = $user order by child_no"
IS_KNOWN = """
    select exists (from user_stage_months where user_id = $user) or exists (from stg_actions where user_id = $user)
"""


def first_reasons(rows: pd.DataFrame) -> str:
    """The most frequent kind of the first reason."""
    first = rows.loc[rows["children"].idxmax()]
    share = percent(first["children"] / rows["children"].sum())
    held = percent(first["median_share"])
    return f"The first reason is a {first['kind']} for {share} of the children, and holds {held} of the evidence"


KINDS = Panel(
    "First reasons",
    f"""
    select kind, count(*) as children, median(share) as median_share from stage_reasons
    where rank = 1 group by kind having count(*) >= {ENOUGH} order by children desc
    """,
    first_reasons,
    "Kind of the reason with the largest attribution, and its median share in the sum of all absolute attributions.",
    lambda rows, stages: bars(
        Bar(kind, children, f"{children:,}") for kind, children in rows[["kind", "children"]].itertuples(index=False)
    ),
)


def sample(connection: duckdb.DuckDBPyConnection, report: Path) -> list[str]:
    """The tab: how to look up a user, the kinds of first reasons, and a dozen children with theirs."""
    rows = connection.sql(SAMPLE).df()
    children = "".join(
        folded(f"User {user}, child {child_no}: {of_child(group)}", reason_bars(group, []), "child", place == 0)
        for place, ((user, child_no), group) in enumerate(rows.groupby(["user_id", "child_no"], sort=False))
    )
    file = html.escape(page_of(report).name)
    look_up = (
        "<article><h3>Look up any user</h3><p><code>life-stage explain 42</code></p>"
        f'<p class="text">writes {file} next to this report, for its owner only: stages over time, reasons, outlook,'
        " and the actions of the strongest months. Ids are those of the tables.</p></article>"
    )
    text = "The attributions of a child add up to the log-odds of its stage."
    found = f'<div class="children">{children}</div>' if children else '<p class="empty">None yet.</p>'
    heading = "<h3>Reasons of a sample of children</h3>"
    reasons = f'<article>{heading}{found}<p class="text">{text}</p></article>'
    return [look_up, KINDS.shown(connection.sql(KINDS.sql).df(), []), reasons]


def of_child(rows: pd.DataFrame) -> str:
    """The stage of a child with its probability."""
    return f"{rows['stage'].iloc[0]}, {percent(1 / (1 + math.exp(-rows['log_odds'].iloc[0])))}"


def reason_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """Attributions in words, those against the stage apart."""
    return bars(
        Bar(reason, value, f"{value:+.2f}", kind="bad" * (value < 0))
        for reason, value in rows[["reason", "contribution"]].itertuples(index=False)
    )


def states(rows: pd.DataFrame) -> str:
    """The most probable state of the newest month."""
    newest = rows[rows["month"] == rows["month"].max()]
    first = newest.loc[newest["share"].idxmax()]
    return f"{first['name'].capitalize()} with {percent(first['share'])} in {month_name(first['month'])}"


def state_chart(rows: pd.DataFrame, stages: list[str]) -> str:
    """The probabilities of all states by month."""
    before, (after, grey) = list(BESIDE_STAGES.items())[:2], list(BESIDE_STAGES.items())[2]
    names = [*(name.replace("_", " ") for name, _ in before), *stages, after.replace("_", " ")]
    colours = [*(colour for _, colour in before), *charts.STAGE_COLOURS[: len(stages)], grey]
    return charts.svg(charts.stacked(rows, names, colours))


def first_reason(rows: pd.DataFrame) -> str:
    """The first reason with its share."""
    return f"First reason: {rows['reason'].iloc[0]} ({percent(rows['share'].iloc[0])} of the evidence)"


def next_stage(rows: pd.DataFrame) -> str:
    """The first month in which another stage is more probable."""
    best = rows.loc[rows.groupby("month")["probability"].idxmax()].sort_values("month")
    now, later = best.iloc[0], best[best["stage"] != best["stage"].iloc[0]]
    if later.empty:
        return f"{now['stage'].capitalize()} stays the most probable stage until {month_name(best['month'].iloc[-1])}"
    following = later.iloc[0]
    return f"{following['stage'].capitalize()} is more probable from {month_name(following['month'])} on"


def outlook_table(rows: pd.DataFrame, stages: list[str]) -> str:
    """Probabilities by stage and month."""
    cells = {(row.stage, row.month): row.probability for row in rows.itertuples()}
    return matrix(cells, [stage for stage in stages if stage in set(rows["stage"])], sorted(set(rows["month"])), "%")


def actions(rows: pd.DataFrame) -> str:
    """The number of actions and their months."""
    found = ", ".join(month_name(month) for month in sorted(set(rows["acted_on"].str[:7])))
    at_least = "at least " if len(rows) == N_SHOWN else ""
    return f"{at_least}{rows['times'].sum():,} actions in {found}"


OF_CHILD = [
    Panel(
        "Probabilities over time",
        """
        select strftime(month, '%Y-%m') as month, replace(state[3:], '_', ' ') as name, share
        from (
            unpivot (
                select month, columns('^p_') from user_stage_months where user_id = $user and child_no = $child
            ) on columns(* exclude (month)) into name state value share
        ) order by month
        """,
        states,
        "From the actions up to each month, with registrations known then (user_stage_months).",
        state_chart,
    ),
    Panel(
        "Reasons",
        """
        select reason, contribution, share, log_odds from stage_reasons
        where user_id = $user and child_no = $child order by rank
        """,
        first_reason,
        "Attributions of the published stage; they add up to its log-odds (stage_reasons).",
        reason_bars,
        empty="The child has no row in user_stages, so there is no stage to explain.",
    ),
    Panel(
        "Outlook",
        """
        select strftime(stage_month, '%Y-%m') as month, stage, probability, p_entering from stage_outlook
        where user_id = $user and child_no = $child order by horizon, stage_no
        """,
        next_stage,
        "Probability of each stage in the coming months (stage_outlook). Births are not forecast.",
        outlook_table,
        empty="The child has no row in user_stages, so there is no outlook.",
    ),
]
ACTIONS = Panel(
    "Actions of the strongest months",
    f"""
    with months as (
        select feature_month as month, sum(contribution) as strength from stage_reasons
        where user_id = $user and kind = 'feature' group by all
        union all
        select month, 0 from stg_actions where user_id = $user group by all
    ),
    strongest as (select month from months group by month order by max(strength) desc, month desc limit 3)
    select strftime(acted_on, '%Y-%m-%d') as acted_on, action,
        coalesce(title, search_term, stg_actions.item_id) as "title or search",
        leaf_category as category, count(*) as times
    from stg_actions left join stg_items on stg_actions.item_id = stg_items.item_id
        and month between valid_from_month and valid_to_month
    where stg_actions.user_id = $user and month in (from strongest)
    group by all order by all limit {N_SHOWN}
    """,
    actions,
    "The three months whose features have the largest attributions, else the newest with actions (stg_actions).",
    wide=True,
    n_open=N_SHOWN,
)


def page_of(report: Path) -> Path:
    """The page about a user, next to the report."""
    return report.with_name(f"{report.stem}_explain.html")


def write(warehouse: Path, report: Path, user: str) -> Path:
    """Write the page about a user, for the owner's eyes only; raises ValueError LS-SUM-004 for an unknown one."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        if not connection.execute(IS_KNOWN, {"user": user}).fetchall()[0][0]:
            raise ValueError(
                "LS-SUM-004 no table has this user: give an id as in user_stage_months or stg_actions, with"
                " LIFE_STAGE_ID_KEY the pseudonym; nothing was written"
            )
        stages = [stage for (stage,) in connection.sql("select stage from stages order by stage_no").fetchall()]

        def shown(panel: Panel, **child: int) -> str:
            rows = connection.execute(panel.sql, {"user": user, **child}).df()
            return panel.shown(rows, stages, "".join(f"child {number} " for number in child.values()))

        children = [number for (number,) in connection.execute(CHILDREN, {"user": user}).fetchall()]
        parts = {
            f"Child {number}": tab(f"Child {number}", "", [shown(panel, child=number) for panel in OF_CHILD])
            for number in children
        }
        parts["Actions"] = tab("Actions", "", [shown(ACTIONS)])
    # Erasure finds the user by these words.
    header = f'<p class="facts">User {html.escape(user)}, as of the newest run. Delete this page once it is read.</p>'
    paths.write_whole(page_of(report), page("Stages of one user", header, parts), mode=0o600)
    return page_of(report)


def main(user: str) -> None:
    """Write the page about the user."""
    warehouse = paths.warehouse()
    try:
        file = write(warehouse, paths.report(), user)
    except ValueError as error:
        sys.exit(str(error))
    except duckdb.Error as error:
        sys.exit(f"LS-SUM-002 no report of {warehouse} can be written: {error}: run life-stage run first")
    print(f"Explained   {paths.shown(file)}, readable by you only; delete it once it is read")
