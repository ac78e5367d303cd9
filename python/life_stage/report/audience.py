"""Panels for marketing and BI: users by stage, moves between stages, what comes next."""

import pandas as pd

from life_stage.report import charts
from life_stage.report.markup import Bar, bars, multiples
from life_stage.report.panels import ENOUGH, Panel, month_name, percent


def growth(rows: pd.DataFrame) -> str:
    """The stages that grew and shrank most since the month before."""
    counts = rows.pivot(index="month", columns="stage", values="users").astype(float).sort_index()
    if len(counts) < 2:
        return ""
    change = counts.diff().iloc[-1]
    known, before = change.dropna().astype(int), counts.index[-2]
    if len(known) < 2:
        return ""
    largest, smallest = known.idxmax(), known.idxmin()
    grew = f"{largest.capitalize()} grew most: {known.max():+,}" if known.max() > 0 else "No stage grew"
    shrank = f"{smallest} shrank most: {known.min():+,}" if known.min() < 0 else "no stage shrank"
    among = "" if len(known) == len(change) else f" ({len(known)} of {len(change)} stages have counts)"
    return f"{grew} since {month_name(before)}; {shrank}{among}"


def mix(rows: pd.DataFrame, stages: list[str]) -> str:
    """Stage shares by month, in age order."""
    colours = charts.STAGE_COLOURS if len(stages) <= len(charts.STAGE_COLOURS) else charts.METHOD_COLOURS * 4
    return charts.svg(charts.stacked(rows.rename(columns={"stage": "name"}), stages, colours[: len(stages)]))


def moves(rows: pd.DataFrame) -> str:
    """The stage most users entered and the one most users left, in the newest month."""
    newest = rows[rows["month"] == rows["month"].max()]
    known = newest.dropna(subset=["entering", "leaving"])
    if len(known) < 2:
        return ""
    into = known.loc[known["entering"].astype(int).idxmax()]
    out = known.loc[known["leaving"].astype(int).idxmax()]
    among = "all stages" if len(known) == len(newest) else f"the {len(known)} of {len(newest)} stages with counts"
    entered = f"{into['entering']:,.0f} users entered {into['stage']} in {month_name(into['month'])}"
    return f"{entered}, {out['leaving']:,.0f} left {out['stage']}: most of {among}"


def flows(rows: pd.DataFrame, stages: list[str]) -> str:
    """Users who entered and left each stage, by month, in one scale."""
    colours = {"entering": charts.ACCENT, "leaving": charts.CONTRAST}
    long = rows.melt(["month", "stage"], list(colours), "name", "value")
    top = 1.1 * long["value"].astype(float).max()
    long = long.assign(label=long["name"] + " " + long["value"].astype("Int64").astype(str))
    drawn = {}
    for stage in stages:
        of_stage = long[long["stage"] == stage]
        is_drawn = of_stage["value"].notna().any()
        chart = charts.lines(of_stage, colours, "d", top, width=250, height=120) if is_drawn else None
        drawn[stage] = charts.svg(chart) if is_drawn else '<p class="note">Suppressed in every month.</p>'
    return multiples(drawn)


def sources(rows: pd.DataFrame) -> str:
    """How many rows are registrations."""
    n_children, n_registered = rows["children"].sum(), rows["registered"].sum()
    return f"{percent(n_registered / n_children)} of {n_children:,} rows are of registered children"


def source_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """The share of registered children in each stage."""
    shares = rows["registered"] / rows["children"]
    return bars((Bar(stage, share, percent(share)) for stage, share in zip(rows["stage"], shares, strict=True)), 1)


def next_stages(rows: pd.DataFrame) -> str:
    """The stage that most children will enter next month."""
    soon = rows[rows["horizon"] == 1]
    if soon.empty:
        return ""
    first = soon.loc[soon["children"].idxmax()]
    return f"{first['children']:.0f} children are expected to enter {first['stage']} by {month_name(first['month'])}"


def outlook(rows: pd.DataFrame, stages: list[str]) -> str:
    """Expected entries by month, for each stage."""
    shown = rows.assign(name="children", value=rows["children"], label=rows["children"].round().astype(int).astype(str))
    top = 1.1 * rows["children"].max()
    colours = {"children": charts.ACCENT}
    drawn = {
        stage: charts.svg(charts.lines(of, colours, "d", top, width=105, height=90))
        for stage in stages
        if not (of := shown[shown["stage"] == stage]).empty
    }
    return multiples(drawn)


def favourite(rows: pd.DataFrame) -> str:
    """The category with the largest lift."""
    first = rows.loc[rows["lift"].idxmax()]
    lift = f"{first['lift']:.1f} times as frequent as among all users"
    return f"{first['stage'].capitalize()} differs most: {first['category']} {lift}"


def favourite_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """The categories of each stage by lift."""
    full = rows["lift"].max()
    drawn = {stage: rows[rows["stage"] == stage] for stage in stages if stage in set(rows["stage"])}
    lifts = {stage: zip(of["category"], of["lift"], strict=True) for stage, of in drawn.items()}
    return multiples(
        {stage: bars((Bar(name, lift, f"{lift:.1f} x") for name, lift in of), full) for stage, of in lifts.items()}
    )


def childless(rows: pd.DataFrame) -> str:
    """The newest estimate."""
    newest = rows.iloc[0]
    return f"{percent(newest['share'])} of the users without a registration have no child and expect none, as estimated"


def childless_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """The estimates of the models with their intervals."""
    return bars(
        (Bar(of.model, of.share, percent(of.share), (of.lowest, of.highest)) for of in rows.itertuples(index=False)), 1
    )


PANELS = [
    Panel(
        "Stage mix",
        """
        select strftime(month, '%Y-%m') as month, stage_no, stage, n_users as users, share
        from stage_totals order by month, stage_no
        """,
        growth,
        "Users with a child in each stage; a user with two children may count twice.",
        mix,
    ),
    Panel(
        "Expected moves",
        f"""
        select strftime(stage_month, '%Y-%m') as month, horizon, stage, sum(p_entering) as children
        from stage_outlook where horizon > 0 group by all having sum(p_entering) >= {ENOUGH}
        order by month, min(stage_no)
        """,
        next_stages,
        "Sum of the probabilities of stage_outlook that a child enters the stage until then. Births are not forecast. "
        f"Sums below {ENOUGH} are left out.",
        outlook,
    ),
    Panel(
        "Registered or inferred",
        f"""
        select stage, count(*) as children, count(*) filter (where source <> 'inferred') as registered
        from user_stages group by all
        having count(*) filter (where source = 'inferred') not between 1 and {ENOUGH - 1}
            and count(*) filter (where source <> 'inferred') not between 1 and {ENOUGH - 1}
        order by min(stage_no)
        """,
        sources,
        "Share of the rows of user_stages with a registered birthday; the others are inferred from behaviour.",
        source_bars,
    ),
    Panel(
        "Shoppers without a child",
        """
        select model_version as model, childless_share as share,
            greatest(childless_share - 1.96 * childless_share_error, 0) as lowest,
            least(childless_share + 1.96 * childless_share_error, 1) as highest, n_unregistered as users,
            (select avg(no_child_probability) from user_stages) as of_published_rows
        from household_weights
        where model_version in (select model_version from user_stage_months) and n_unregistered > 0
        group by all order by model desc limit 3
        """,
        childless,
        "By each model, with a 95 % interval for sampling alone.",
        childless_bars,
    ),
    Panel(
        "Entering and leaving a stage",
        """
        select strftime(month, '%Y-%m') as month, stage, n_moved_in as entering, n_moved_out as leaving
        from stage_totals where month > (select min(month) from stage_totals) order by month, stage_no
        """,
        moves,
        "Users with a child in the stage who had none in it the month before, and the reverse. A gap in a line is a "
        "month whose counts are suppressed.",
        flows,
        wide=True,
    ),
    Panel(
        "Categories of a stage",
        """
        select stage, leaf_category as category, n_users as users, share, lift
        from stage_interests where lift > 1
        qualify row_number() over (partition by stage order by lift desc, leaf_category) <= 5
        order by stage_no, lift desc
        """,
        favourite,
        "Share of the stage's active users with an action on the category, divided by the share of all active users, "
        "in the newest month.",
        favourite_bars,
        wide=True,
    ),
]
