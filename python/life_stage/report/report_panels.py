"""Panels of the report: title, text, query and chart of each."""

from collections.abc import Callable
from dataclasses import dataclass

import altair as alt
import pandas as pd

from life_stage.report import charts

FEW = "Counts of few users are suppressed (var marts_min_cell_users)."


@dataclass(frozen=True)
class ReportPanel:
    """A title, one sentence on the chart, the query of its rows, and the chart (None: a table)."""

    title: str
    text: str
    sql: str
    draw: Callable[[pd.DataFrame, list[str]], alt.Chart] | None = None


def bars_with_intervals(rows: pd.DataFrame, value: str, by: str, x: alt.X) -> alt.Chart:
    """Bars of a value with 95 % intervals from the column `error`, one per value of the column `by`."""
    rows = rows.assign(low=rows[value] - 1.96 * rows["error"], high=rows[value] + 1.96 * rows["error"])
    y = alt.Y(f"{by}:N", title=None, sort=None, axis=alt.Axis(labelLimit=240))
    bars = alt.Chart(rows).mark_bar(color="#0072b2").encode(x, y)
    interval = alt.Chart(rows).mark_rule(strokeWidth=2, clip=True).encode(alt.X("low:Q"), y, x2="high:Q")
    return (bars + interval).properties(width=320, height=alt.Step(22))


def households(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Share of right rows with 95 % intervals, by group."""
    x = alt.X("right_share:Q", title="share of the rows that are right", axis=charts.PERCENT).scale(domain=[0, 1])
    return bars_with_intervals(rows, "right_share", "rows", x)


def precision_recall(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Precision by recall; points are thresholds of the probability."""
    x = alt.X("recall:Q", axis=charts.PERCENT, scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("precision:Q", axis=charts.PERCENT, scale=alt.Scale(domain=[0, 1]))
    line = alt.Chart(rows).mark_line(point=True, color="#0072b2").encode(x, y)
    some = rows[rows["threshold"].round(2).isin([0.1, 0.25, 0.4, 0.5, 0.7, 0.9])]
    labels = alt.Chart(some).mark_text(dx=14, dy=-8).encode(x, y, alt.Text("threshold:Q", format=".2f"))
    return (line + labels).properties(width=420, height=280)


def stage_mix(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Stage shares by month, in age order."""
    x = alt.X("month:O", title=None, axis=charts.MONTHS)
    y = alt.Y("share:Q", title="share of the users", axis=charts.PERCENT, stack="zero", scale=alt.Scale(domain=[0, 1]))
    order = alt.Order("stage_no:Q", sort="ascending")
    return alt.Chart(rows).mark_bar().encode(x, y, charts.stage_colour(stages), order).properties(width=480, height=280)


def flow(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Users who entered or left a stage, by month."""
    x = alt.X("month:O", title=None, axis=charts.MONTHS)
    y = alt.Y("users:Q", title="users")
    lines = alt.Chart(rows).mark_line(point=True).encode(x, y, charts.stage_colour(stages))
    return lines.properties(width=480, height=240)


def accuracy(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Accuracy by month."""
    return charts.methods_by_month(rows, "accuracy", "accuracy")


def gain(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Gains with 95 % intervals, by cohort."""
    x = alt.X("gain:Q", title="accuracy gain over the stateless baseline", axis=charts.PERCENT)
    return bars_with_intervals(rows, "gain", "cohort", x)


def confusion(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Confusion matrix: predicted stage by registered stage."""
    return charts.matrix(rows, "registered", "predicted", "share", stages, ".0%")


def calibration(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Accuracy by predicted probability."""
    return charts.calibration(rows)


def weights(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """The features of the largest weight for each stage."""
    bars = alt.Chart(rows).mark_bar(color="#0072b2")
    x = alt.X("weight:Q", title="log-likelihood of one active day, nats")
    y = alt.Y("feature:N", title=None, sort="-x", axis=alt.Axis(labelLimit=150))
    panels = bars.encode(x, y).properties(width=130, height=120)
    return panels.facet(alt.Facet("stage:N", title=None, sort=stages), columns=2).resolve_scale(y="independent")


def rejected(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """Rejected rows by reason."""
    y = alt.Y("reason:N", title=None, sort="-x", axis=alt.Axis(labelLimit=260))
    bars = alt.Chart(rows).mark_bar(color="#d55e00").encode(alt.X("rows:Q", title="rejected rows"), y)
    return bars.properties(width=320, height=alt.Step(22))


def drift(rows: pd.DataFrame, stages: list[str]) -> alt.Chart:
    """The measures of month_drift, by month."""
    y = alt.Y("share:Q", title=None, axis=charts.PERCENT, scale=alt.Scale(domain=[0, 1]))
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=400)
    colour = alt.Color("measure:N", title=None, legend=legend).scale(range=charts.COLOURS[1:])
    lines = alt.Chart(rows).mark_line(point=True).encode(alt.X("month:O", title=None, axis=charts.MONTHS), y, colour)
    return lines.properties(width=480, height=240)


PANELS = [
    ReportPanel(
        "Right rows",
        "Rows of user_stages from behaviour alone whose household has a registered child in the stage, on held-out "
        f"households with any number of children. Bars: 95 % intervals over users. {FEW}",
        """
        select if(group_name = 'all', 'all rows', group_name || ': ' || group_value) as rows, right_share,
            right_share_error as error, mean_probability, n_rows, recall
        from household_accuracy left join stages on group_value = stage
        where not is_suppressed and n_rows > 0
        order by array_position(['all', 'stage', 'child', 'confidence'], group_name), stage_no, group_value
        """,
        households,
    ),
    ReportPanel(
        "Precision and recall",
        "The same households: stages predicted from a probability on. Vars marts_min_probability and "
        "marts_min_first_probability are such thresholds.",
        """
        select threshold, precision_share as "precision", recall, n_predicted from household_precision_recall
        where n_predicted > 0 order by threshold
        """,
        precision_recall,
    ),
    ReportPanel(
        "Shoppers without a child",
        "Share of the users without a registration that have no child and expect none, estimated by each model, with "
        "a 95 % interval for sampling alone. Last column: published rows whose shopper is expected to have none.",
        """
        select model_version as model, childless_share as share,
            greatest(childless_share - 1.96 * childless_share_error, 0) as lowest,
            least(childless_share + 1.96 * childless_share_error, 1) as highest, n_unregistered as users,
            (select avg(no_child_probability) from user_stages) as of_published_rows
        from household_weights
        where model_version in (select model_version from user_stage_months) and n_unregistered > 0
        group by all order by model desc limit 3
        """,
    ),
    ReportPanel(
        "Stage mix",
        f"Users with a child in each stage, by month. {FEW}",
        """
        select strftime(month, '%Y-%m') as month, stage_no, stage, n_users as users, share
        from stage_totals where not is_suppressed order by all
        """,
        stage_mix,
    ),
    ReportPanel(
        "Users entering a stage",
        f"Users with a child in the stage who had none in it the month before. {FEW}",
        """
        select strftime(month, '%Y-%m') as month, stage, n_moved_in as users
        from stage_totals where n_moved_in is not null order by month, stage_no
        """,
        flow,
    ),
    ReportPanel(
        "Users leaving a stage",
        f"Users with a child in the stage the month before who have none in it now. {FEW}",
        """
        select strftime(month, '%Y-%m') as month, stage, n_moved_out as users
        from stage_totals where n_moved_out is not null order by month, stage_no
        """,
        flow,
    ),
    ReportPanel(
        "Accuracy",
        f"On held-out users, whose registrations no model was trained on. Bands: 95 % intervals over users. {FEW}",
        """
        select method, period, accuracy, accuracy_error, n_users from stage_accuracy
        where cohort = 'all' and period <> 'all' and not is_suppressed order by all
        """,
        accuracy,
    ),
    ReportPanel(
        "Gain over the stateless baseline",
        "Accuracy of the birth-month filter minus that of the stateless baseline, by cohort, with 95 % intervals. "
        f"{FEW}",
        """
        select cohort, accuracy_gain as gain, accuracy_gain_error as error, n_user_months as user_months
        from gain_over_baseline where method = 'birth_month_filter' and period = 'all' and not is_suppressed
        order by gain desc
        """,
        gain,
    ),
    ReportPanel(
        "Calibration",
        f"On the dashed line accuracy equals the predicted probability; below it a method is overconfident. {FEW}",
        """
        select method, mean_probability, accuracy, n_user_months from stage_calibration
        where not is_suppressed and method in ('memory_less', 'dynamic_fusion', 'birth_month_filter') order by all
        """,
        calibration,
    ),
    ReportPanel(
        "Confusion matrix",
        "Down: the registered stage; across: the prediction of the birth-month filter; shares of the registered "
        f"stage. {FEW}",
        """
        select true_stage as registered, predicted_stage as predicted, share
        from stage_confusion where method = 'birth_month_filter' and not is_suppressed order by all
        """,
        confusion,
    ),
    ReportPanel(
        "Top features of each stage",
        "The features with the largest log-likelihood of a stage against the others, in the newest model.",
        "select stage, feature, weight from top_stage_features order by stage, rank",
        weights,
    ),
    ReportPanel(
        "Rejected rows",
        f"Rows of the source that failed validation, by reason. {FEW}",
        """
        select if(table_name = 'actions', '', table_name || ': ') || reason as reason, n_rows as rows
        from rejection_counts where n_rows is not null order by rows desc, reason
        """,
        rejected,
    ),
    ReportPanel(
        "Checks of the source",
        "How well its tables fit together, in the newest month, and checks that the newest delivery failed.",
        """
        select measure as "check", n_found as found, n_all as of, n_found / n_all as share, '' as warning
        from source_fit qualify month = max(month) over (partition by measure) and n_found >= 20
        union all
        select measure || ' ' || value, n_found, n_rows, n_found / n_rows, message from delivery_checks where is_wrong
        union all
        select 'users with more actions than a person has', count(distinct user_id), null, null, ''
        from implausible_users having count(distinct user_id) > 0
        order by all
        """,
    ),
    ReportPanel(
        "Drift",
        "A rising share of unknown features means new categories or spellings that the model was not trained on.",
        """
        select strftime(month, '%Y-%m') as month, measure, share from month_drift order by all
        """,
        drift,
    ),
    ReportPanel(
        "Last runs",
        "Newest first.",
        """
        select strftime(started_at, '%Y-%m-%d %H:%M') as started, strftime(through_month, '%Y-%m') as through,
            n_rows_read as rows_read, n_rows_rejected as rejected, n_months_updated as months_updated,
            n_users as users, model_version, seconds, left(run_id, 8) as run
        from model_runs order by started_at desc limit 12
        """,
    ),
    ReportPanel(
        "Data dictionary",
        "The columns of the published marts.",
        """
        select table_name as mart, column_name as "column", data_type as type, comment as meaning
        from duckdb_columns() where comment is not null and database_name = current_database()
        order by table_name, column_index
        """,
    ),
]
