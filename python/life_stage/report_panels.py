"""Panels of the report: title, rows and chart of each."""

from collections.abc import Callable
from dataclasses import dataclass

import altair as alt
import pandas as pd

from life_stage import charts

FEW = "Counts of few users are hidden."


@dataclass(frozen=True)
class Panel:
    """A question, what the chart says in a sentence, the rows behind it, and how they are drawn (None: as a table)."""

    title: str
    text: str
    sql: str
    draw: Callable[[pd.DataFrame, list[str]], alt.Chart] | None = None


def stage_mix(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Shares of the stages over time, in age order."""
    x = alt.X("month:O", title=None, axis=charts.MONTHS)
    y = alt.Y("share:Q", title="share of the users", axis=charts.PERCENT, stack="zero", scale=alt.Scale(domain=[0, 1]))
    order = alt.Order("stage_no:Q", sort="ascending")
    return alt.Chart(rows).mark_bar().encode(x, y, charts.stage_colour(stages), order).properties(width=480, height=280)


def flow(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """How many came into a stage or left it, month by month."""
    x = alt.X("month:O", title=None, axis=charts.MONTHS)
    y = alt.Y("users:Q", title="users")
    lines = alt.Chart(rows).mark_line(point=True).encode(x, y, charts.stage_colour(stages))
    return lines.properties(width=480, height=240)


def accuracy(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Accuracy by month."""
    return charts.methods_by_month(rows, "accuracy", "accuracy")


def gain(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Gains with 95 % intervals, by group of user-months."""
    rows = rows.assign(low=rows["gain"] - 1.96 * rows["error"], high=rows["gain"] + 1.96 * rows["error"])
    y = alt.Y("cohort:N", title=None, sort=None, axis=alt.Axis(labelLimit=240))
    x = alt.X("gain:Q", title="points of accuracy over the memory-less regression", axis=charts.PERCENT)
    bars = alt.Chart(rows).mark_bar(color="#0072b2").encode(x, y)
    interval = alt.Chart(rows).mark_rule(strokeWidth=2).encode(alt.X("low:Q"), y, x2="high:Q")
    return (bars + interval).properties(width=320, height=alt.Step(22))


def confusion(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """What each stage is taken for."""
    return charts.matrix(rows, "registered", "told", "share", stages, ".0%")


def calibration(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """How often a method is right by how sure it is."""
    return charts.calibration(rows)


def weights(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """The features that speak most for each stage."""
    bars = alt.Chart(rows).mark_bar(color="#0072b2")
    x = alt.X("weight:Q", title="log_likelihood of one day with it, nats")
    y = alt.Y("feature:N", title=None, sort="-x", axis=alt.Axis(labelLimit=150))
    panels = bars.encode(x, y).properties(width=130, height=120)
    return panels.facet(alt.Facet("stage:N", title=None, sort=stages), columns=2).resolve_scale(y="independent")


def rejected(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Rows set aside by reason."""
    y = alt.Y("reason:N", title=None, sort="-x", axis=alt.Axis(labelLimit=260))
    bars = alt.Chart(rows).mark_bar(color="#d55e00").encode(alt.X("rows:Q", title="rows set aside"), y)
    return bars.properties(width=320, height=alt.Step(22))


def drift(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """How much of a month the model does not know, and how sure it is."""
    y = alt.Y("share:Q", title=None, axis=charts.PERCENT, scale=alt.Scale(domain=[0, 1]))
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=400)
    colour = alt.Color("measure:N", title=None, legend=legend).scale(range=charts.COLOURS[1:])
    lines = alt.Chart(rows).mark_line(point=True).encode(alt.X("month:O", title=None, axis=charts.MONTHS), y, colour)
    return lines.properties(width=480, height=240)


PANELS = [
    Panel(
        "Who is in which stage",
        f"Users with a child in a stage, month by month. {FEW}",
        """
        select strftime(month, '%Y-%m') as month, stage_no, stage, n_users as users, share
        from stage_totals where not is_suppressed order by all
        """,
        stage_mix,
    ),
    Panel(
        "Who came",
        f"Users with a child in the stage who had none in it the month before. {FEW}",
        """
        select strftime(month, '%Y-%m') as month, stage, n_moved_in as users
        from stage_totals where n_moved_in is not null order by month, stage_no
        """,
        flow,
    ),
    Panel(
        "Who left",
        f"Users with a child in the stage the month before who have none in it now. {FEW}",
        """
        select strftime(month, '%Y-%m') as month, stage, n_moved_out as users
        from stage_totals where n_moved_out is not null order by month, stage_no
        """,
        flow,
    ),
    Panel(
        "How often it is right",
        f"On users whose registrations no model saw. Bands are 95 % intervals over users. {FEW}",
        """
        select method, period, accuracy, accuracy_error, n_users from stage_accuracy
        where cohort = 'all' and period <> 'all' and not is_suppressed order by all
        """,
        accuracy,
    ),
    Panel(
        "What the posterior adds",
        "Points of accuracy of the birth-month filter over a regression without memory, by group of user-months, with "
        f"95 % intervals. {FEW}",
        """
        select cohort, accuracy_gain as gain, accuracy_gain_error as error, n_user_months as user_months
        from gain_over_baseline where method = 'birth_month_filter' and period = 'all' and not is_suppressed order by gain desc
        """,
        gain,
    ),
    Panel(
        "Whether probabilities can be believed",
        f"On the dashed line a method is right as often as it says; below it, it is too sure. {FEW}",
        """
        select method, mean_probability, accuracy, n_user_months from stage_calibration
        where not is_suppressed and method in ('memory_less', 'dynamic_fusion', 'birth_month_filter') order by all
        """,
        calibration,
    ),
    Panel(
        "What stages are mistaken for",
        f"Down: the registered stage; across: what the birth-month filter told; shares of the registered stage. {FEW}",
        """
        select true_stage as registered, predicted_stage as told, share
        from stage_confusion where method = 'birth_month_filter' and not is_suppressed order by all
        """,
        confusion,
    ),
    Panel(
        "What speaks for a stage",
        "The features that move the log_likelihood most towards each stage and away from the others, in the newest model.",
        "select stage, feature, weight from top_stage_features order by stage, rank",
        weights,
    ),
    Panel(
        "What was set aside",
        f"Rows of the delivery that no stage rests on, by reason. {FEW}",
        """
        select if(table_name = 'actions', '', table_name || ': ') || reason as reason, n_rows as rows
        from rejection_counts where n_rows is not null order by rows desc, reason
        """,
        rejected,
    ),
    Panel(
        "What drifts",
        "When the unknown share rises, shoppers do what the model has not learned: new categories, new spellings.",
        """
        select strftime(month, '%Y-%m') as month, measure, share from month_drift order by all
        """,
        drift,
    ),
    Panel(
        "The last runs",
        "Newest first.",
        """
        select strftime(started_at, '%Y-%m-%d %H:%M') as started, strftime(through_month, '%Y-%m') as through,
            n_rows_read as rows_read, n_rows_rejected as set_aside, n_months_updated as months_updated,
            n_users as users, model_version, seconds, left(run_id, 8) as run
        from model_runs order by started_at desc limit 12
        """,
    ),
    Panel(
        "What the columns mean",
        "The published marts, column by column.",
        """
        select table_name as mart, column_name as "column", data_type as type, comment as meaning
        from duckdb_columns() where comment is not null and database_name = current_database()
        order by table_name, column_index
        """,
    ),
]
