"""Panels for operators: what was delivered and how it changed, and what the runs did."""

import html

import pandas as pd

from life_stage.report import charts
from life_stage.report.markup import Bar, bars, multiples, table
from life_stage.report.panels import Panel, duration, month_name, number_of, percent

OF_RUNS = ["started", "status", "error_code", "through", "rows_read", "rejected", "months_updated", "users", "error"]
MIN_CHANGE = 0.005  # of the rows of a month, below which a title names no change


def volume(rows: pd.DataFrame) -> str:
    """Missing months, else the change of the newest closed month."""
    missing = rows[rows["status"] == "missing"]
    if len(missing):
        return f"{number_of(len(missing), 'month')} missing, the newest is {month_name(missing['month'].max())}"
    closed = rows[rows["is_closed"]]
    if len(closed) < 2:
        return ""
    before, now = closed["rows_read"].tail(2)
    name = month_name(closed["month"].iloc[-1])
    change = now / before - 1 if before else 0.0
    if abs(change) < MIN_CHANGE:
        return f"{now:,} rows in {name}, as many as in the month before"
    return f"{now:,} rows in {name}, {percent(abs(change))} {'more' if change > 0 else 'fewer'} than the month before"


def rejections(rows: pd.DataFrame) -> str:
    """The share of rejected actions and the most frequent reason."""
    actions = rows[rows["table_name"] == "actions"]
    if actions.empty:
        return ""
    first = actions.loc[actions["rows"].idxmax()]
    return (
        f"{percent(first['rejected_of_table'])} of the action rows are rejected; the most frequent reason is"
        f" {first['reason'].replace('_', ' ')} ({percent(first['share'])})"
    )


def rejection_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """Rejected rows by reason, as shares of the rows read."""
    drawn = {
        name: bars(
            Bar(reason.replace("_", " "), share, percent(share), kind="bad")
            for reason, share in of[["reason", "share"]].itertuples(index=False)
        )
        for name, of in rows.groupby("table_name", sort=False)
    }
    return multiples(drawn)


def checks(rows: pd.DataFrame) -> str:
    """The number of failed checks."""
    n_failed = int((rows["warning"] != "").sum())
    return f"{number_of(n_failed, 'check')} of the newest delivery failed" if n_failed else "No check failed"


def check_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """Shares that were found, and the messages of failed checks."""
    found = rows.loc[(rows["warning"] == "") & rows["share"].notna(), ["check", "share"]]
    warnings = "".join(f"<li>{html.escape(text)}</li>" for text in rows["warning"] if text)
    drawn = bars((Bar(name, share, percent(share)) for name, share in found.itertuples(index=False)), 1)
    return drawn + (f'<ul class="words">{warnings}</ul>' if warnings else "")


def drifted(rows: pd.DataFrame) -> str:
    """The measures above their thresholds in the newest month, else the nearest to its threshold."""
    newest = rows[rows["is_newest"]]
    for level in ("error", "warn"):
        found = newest[newest["level"] == level]
        if len(found):
            first = found.loc[found["stability_index"].idxmax()]
            which = f"{len(found)} measures are above their threshold {level}, most {first['measure']}"
            which = which if len(found) > 1 else f"{first['measure'].capitalize()} is above its threshold {level}"
            return f"{which} in {month_name(first['month'])}"
    ratio = newest["stability_index"] / newest["warn_above"]
    nearest = newest.loc[ratio.idxmax(), "measure"]
    return f"No drift: {nearest} is nearest to its threshold, at {percent(ratio.max())} of it"


def drift_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """Stability indices of the newest month with their two thresholds."""
    return bars(
        Bar(
            f"{row.measure}, {row.month}",
            row.stability_index,
            f"{row.stability_index:.2f}",
            thresholds=(row.warn_above, row.error_above),
            kind="" if row.level == "ok" else "bad",
        )
        for row in rows[rows["is_newest"]].itertuples()
    )


def measures(rows: pd.DataFrame) -> str:
    """The share of unknown actions in the newest month."""
    unknown = rows[rows["measure"] == UNKNOWN].sort_values("month")
    if len(unknown) < 2:
        return ""
    newest, before = unknown.iloc[-1], unknown["share"].iloc[:-1].median()
    return (
        f"{percent(newest['share'])} of the actions of {month_name(newest['month'])} are unknown to the model;"
        f" the median before is {percent(before)}"
    )


def measure_lines(rows: pd.DataFrame, stages: list[str]) -> str:
    """Measures by month, each in its own scale."""
    shown = rows.assign(name="share", value=rows["share"], label=rows["share"].map(percent))
    return multiples(
        {
            measure: charts.svg(charts.lines(of, {"share": charts.ACCENT}, ".1~%", width=220, height=110))
            for measure, of in shown.groupby("measure", sort=False)
        }
    )


def dictionary(rows: pd.DataFrame) -> str:
    """The size of the dictionary."""
    return f"{len(rows):,} columns of {rows['mart'].nunique()} tables have a description"


def newest_run(rows: pd.DataFrame) -> str:
    """The outcome and the duration of the newest run."""
    newest, before = rows.iloc[0], rows[rows["status"] == "succeeded"]["seconds"].iloc[1:]
    if newest["status"] != "succeeded":
        return f"The newest run failed ({newest['error_code']})"
    title = f"The newest run took {duration(newest['seconds'])}"
    return (
        f"{title}; the median of the {len(before)} before is {duration(before.median())}" if len(before) > 1 else title
    )


def run_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """Durations of the newest runs, failures apart, and a table of what they did."""
    drawn = bars(
        Bar(
            f"{row.started}" + ("" if row.status == "succeeded" else f" {row.status}"),
            0 if pd.isna(row.seconds) else row.seconds,
            "" if pd.isna(row.seconds) else duration(row.seconds),
            kind="" if row.status == "succeeded" else "bad",
        )
        for row in rows.itertuples()
    )
    return drawn + table(rows[OF_RUNS])


def models(rows: pd.DataFrame) -> str:
    """The training of the newest model."""
    newest = rows.iloc[0]
    through, n_users = month_name(newest["trained_through"]), newest["training_users"]
    return f"The newest model was trained through {through}, on {n_users:,} users"


UNKNOWN = "actions the model knows nothing of"
DATA = [
    Panel(
        "Rows by month",
        """
        select strftime(month, '%Y-%m') as month, status, is_closed, n_rows as rows_read, n_actions as valid,
            n_rejected as rejected, n_duplicates as duplicates
        from month_calendar order by month
        """,
        volume,
        "Rows of the actions that were read.",
        lambda rows, stages: charts.svg(charts.columns(rows, "rows_read")),
    ),
    Panel(
        "Rejected rows",
        """
        with tables as (
            select 'actions' as table_name, sum(n_rows) as n_all, sum(n_rejected) as n_rejected from action_months
            union all select 'children', count(*), count(reason) from stg_child_rows
            union all select 'items', count(*), count(reason) from stg_item_rows
        )
        select table_name, reason, n_rows as rows, n_rows / n_all as share, n_rejected / n_all as rejected_of_table,
            meaning, remedy
        from rejection_counts join tables using (table_name) left join rejection_reasons using (table_name, reason)
        where n_rows is not null and n_all > 0 order by table_name, rows desc, reason
        """,
        rejections,
        "Share of the rows read that failed validation, by reason; a row may have several.",
        rejection_bars,
        empty="No reason has rejected rows of enough users.",
    ),
    Panel(
        "Checks of the source",
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
        checks,
        "How well the tables fit together, in the newest month, and the checks that the newest delivery failed.",
        check_bars,
    ),
    Panel(
        "Drift",
        """
        select *, row_number() over (partition by measure order by month desc) = 1 as is_newest from (
            select strftime(month, '%Y-%m') as month, 'features of group ' || feature as measure, stability_index,
                0.1 + 3 * by_chance as warn_above, 0.25 + 3 * by_chance as error_above, level from model_drift
            union all
            select strftime(month, '%Y-%m'), feature || ' of checkout users', stability_index,
                0.1 + 3 * by_chance, 0.25 + 3 * by_chance, level from checkout_drift
        )
        order by measure, month
        """,
        drifted,
        "Population stability index of the newest month against the time of training. Strokes: thresholds of the "
        "levels warn and error, which allow for chance. Features of the model appear in the months after its training.",
        drift_bars,
    ),
    Panel(
        "Measures by month",
        "select strftime(month, '%Y-%m') as month, measure, share from month_drift order by measure, month",
        measures,
        "A rising share of unknown actions means new categories or spellings that the model was not trained on.",
        measure_lines,
        wide=True,
    ),
    Panel(
        "Data dictionary",
        """
        select table_name as mart, column_name as "column", data_type as type, comment as meaning
        from duckdb_columns() where comment is not null and database_name = current_database()
        order by table_name, column_index
        """,
        dictionary,
        "Also in dictionary.csv of the published set.",
        wide=True,
    ),
]
RUNS = [
    Panel(
        "Newest runs",
        """
        select strftime(started_at, '%Y-%m-%d %H:%M') as started, strftime(through_month, '%Y-%m') as through,
            n_rows_read as rows_read, n_rows_rejected as rejected, n_months_updated as months_updated,
            n_users as users,
            * exclude (started_at, through_month, n_rows_read, n_rows_rejected, n_months_updated, n_users)
        from model_runs order by started_at desc limit 12
        """,
        newest_run,
        "Newest first; times in UTC.",
        run_bars,
        wide=True,
    ),
    Panel(
        "Models",
        """
        select model_version as model, strftime(trained_through, '%Y-%m') as trained_through,
            n_training_users as training_users, n_validation_users as validation_users,
            log_loss_after as log_loss, calibration_error_after as calibration_error
        from model_registry order by model_registry.trained_through desc limit 12
        """,
        models,
        "Log-loss and calibration error of the readout, on validation users.",
        wide=True,
    ),
]
