"""Panels for data scientists: how right the stages are on held-out users, and what the model has found."""

import html

import pandas as pd

from life_stage.commands.summary import between
from life_stage.report import charts
from life_stage.report.markup import Bar, bars, matrix, multiples
from life_stage.report.panels import ENOUGH, Panel, percent

N_CONFUSIONS = 5  # shown in words


def with_interval(label: str, value: float, low: float, high: float) -> Bar:
    """A share with its 95 % interval."""
    return Bar(label, value, percent(value), (low, high))


def right_rows(rows: pd.DataFrame) -> str:
    """How many rows are right, and the weakest stage."""
    overall = rows[rows["rows"] == "all rows"]
    if overall.empty:
        return ""
    share, low, high = overall.iloc[0][["right_share", "low", "high"]]
    title = f"{percent(share)} ({between(low, high)}) of the rows are right by behaviour alone"
    stages = rows[rows["rows"].str.startswith("stage: ")]
    if len(stages) < 2:
        return title
    weakest = stages.loc[stages["right_share"].idxmin()]
    name, share = weakest["rows"].removeprefix("stage: "), weakest["right_share"]
    return f"{title}; the weakest stage is {name} with {percent(share)} ({between(weakest['low'], weakest['high'])})"


def right_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """Share of right rows with 95 % intervals, by group."""
    shown = rows[["rows", "right_share", "low", "high"]]
    return bars((with_interval(*row) for row in shown.itertuples(index=False)), 1)


def confusions(rows: pd.DataFrame) -> pd.DataFrame:
    """The mistakes, most frequent first; equal ones in age order."""
    wrong = rows[rows["registered"] != rows["predicted"]]
    return wrong.sort_values(["user_months", "registered_no", "predicted_no"], ascending=[False, True, True])


def confused(rows: pd.DataFrame) -> str:
    """How many mistakes are one stage off, and the most frequent one."""
    wrong, n_all = confusions(rows), rows["user_months"].sum()
    n_wrong = wrong["user_months"].sum()
    if n_all < ENOUGH:
        return ""
    if wrong.empty:
        return f"No mistake in {n_all:,} user-months"
    is_near = (wrong["registered_no"] - wrong["predicted_no"]).abs() == 1
    first = wrong.iloc[0]
    return (
        f"{percent(wrong.loc[is_near, 'user_months'].sum() / n_wrong)} of the {n_wrong:,} mistakes are one stage off,"
        f" most often {first['registered']} taken for {first['predicted']} ({first['user_months']:,})"
    )


def confusion(rows: pd.DataFrame, stages: list[str]) -> str:
    """Confusion matrix of registered and predicted stage, beside its largest mistakes in words."""
    totals = rows.groupby("registered")["user_months"].sum()
    cells = {(row.registered, row.predicted): row.user_months / totals[row.registered] for row in rows.itertuples()}
    words = "".join(
        f"<li><b>{html.escape(row.registered)}</b> taken for <b>{html.escape(row.predicted)}</b>: {row.user_months:,} "
        f"user-months of {row.users:,} users, {percent(cells[row.registered, row.predicted])} of {row.registered}</li>"
        for row in confusions(rows).head(N_CONFUSIONS).itertuples()
    )
    table = matrix(cells, stages, stages, "registered ↓ predicted → (%)")
    largest = f'<h4>Largest mistakes</h4><ol class="words">{words}</ol>'
    return f'<div class="beside">{table}<div>{largest}</div></div>'


def accuracy(rows: pd.DataFrame) -> str:
    """The accuracy of the filter and of the baseline over all months."""
    overall = rows[rows["period"] == "all"].set_index("method")["accuracy"]
    if not {"birth_month_filter", "memory_less"} <= set(overall.index):
        return ""
    return (
        f"The birth-month filter is right for {percent(overall['birth_month_filter'])} of user-months,"
        f" the baseline for {percent(overall['memory_less'])}"
    )


def accuracy_lines(rows: pd.DataFrame, stages: list[str]) -> str:
    """Accuracy by month."""
    return charts.svg(charts.methods_by_month(rows[rows["period"] != "all"], "accuracy", 190, 220))


def gains(rows: pd.DataFrame) -> str:
    """In how many groups of enough users the filter is better beyond chance, and by how much."""
    groups = rows[(rows["cohort"] != "all") & (rows["verdict"] != "too few")]
    if len(groups) < 2:
        return ""
    n_better, n_worse = ((groups["verdict"] == verdict).sum() for verdict in ("better", "worse"))
    by = f"by {100 * groups['gain'].min():+.0f} to {100 * groups['gain'].max():+.0f} points"
    if n_better == len(groups):
        return f"Better than the baseline in all {n_better} groups of enough users, {by}"
    return f"Better than the baseline in {n_better} of {len(groups)} groups beyond chance, worse in {n_worse}"


def gain_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """Gains with 95 % intervals, by cohort."""
    return bars(
        Bar(name, gain, f"{100 * gain:+.0f}", (gain - 1.96 * error, gain + 1.96 * error), kind="bad" * (gain < 0))
        for name, gain, error in rows[["cohort", "gain", "error"]].itertuples(index=False)
    )


def calibrated(rows: pd.DataFrame) -> str:
    """The mean probability of the filter beside its accuracy."""
    of_filter = rows[rows["method"] == "birth_month_filter"]
    n_months = of_filter["n_user_months"]
    if n_months.sum() < ENOUGH:
        return ""
    predicted, right = ((of_filter[of] * n_months).sum() / n_months.sum() for of in ("mean_probability", "accuracy"))
    by = round(100 * predicted) - round(100 * right)
    verdict = ": it is overconfident" if by > 1 else ": it is underconfident" if by < -1 else ""
    return f"The filter predicts {percent(predicted)} on average and is right for {percent(right)}{verdict}"


def trade_off(rows: pd.DataFrame) -> str:
    """Precision and recall at the threshold nearest to 0.7."""
    row = rows.loc[(rows["threshold"] - 0.7).abs().idxmin()]
    return (
        f"From a probability of {row['threshold']:.2g} on, {percent(row['precision'])} of the rows are right and"
        f" {percent(row['recall'])} of the children are found"
    )


def signs(rows: pd.DataFrame) -> str:
    """The feature with the largest weight."""
    first = rows.loc[rows["weight"].idxmax()]
    return f"The clearest sign is “{first['sign']}”, for {first['stage']}"


def sign_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """The features with the largest weights of each stage, in words."""
    full = rows["weight"].max()
    drawn = {stage: rows[rows["stage"] == stage] for stage in stages if stage in set(rows["stage"])}
    weights = {stage: zip(of["sign"], of["weight"], strict=True) for stage, of in drawn.items()}
    return multiples({stage: bars((Bar(s, w, f"{w:.2f}") for s, w in of), full) for stage, of in weights.items()})


def forecast(rows: pd.DataFrame) -> str:
    """Precision and recall of the listed moves, at the farthest horizon with figures."""
    of_all = rows[rows["stage"] == "all"].sort_values(["horizon", "threshold"])
    if of_all.empty:
        return ""
    row = of_all[of_all["threshold"].isin([0.5, 0.7])].tail(1)
    row = (row if len(row) else of_all.tail(1)).iloc[0]
    return (
        f"{percent(row['right_share'])} of the children listed {row['horizon']} months ahead with a probability above"
        f" {row['threshold']:.2g} moved; {percent(row['found_share'])} of those that moved were listed"
    )


def forecast_bars(rows: pd.DataFrame, stages: list[str]) -> str:
    """Precision and recall of the listed moves, by horizon and threshold."""
    of_all = rows[rows["stage"] == "all"]
    labels = [f"{row.horizon} months ahead, above {row.threshold:.2g}" for row in of_all.itertuples()]
    captions = {
        "listed children that moved": ("right_share", "right_low", "right_high"),
        "children that moved and were listed": ("found_share", "found_low", "found_high"),
    }
    return multiples(
        {
            caption: bars(map(with_interval, labels, *(of_all[name] for name in names)), 1)
            for caption, names in captions.items()
        }
    )


PANELS = [
    Panel(
        "Right rows",
        """
        select if(group_name = 'all', 'all rows', group_name || ': ' || group_value) as rows, right_share,
            lowest_right_share as low, highest_right_share as high, mean_probability, n_rows, recall
        from household_accuracy left join stages on group_value = stage
        where not is_suppressed and n_rows > 0
        order by list_position(['all', 'stage', 'child', 'confidence'], group_name), stage_no,
            list_position(['high', 'medium', 'low'], group_value), group_value
        """,
        right_rows,
        "Rows of user_stages from behaviour alone whose household has a registered child in the stage, on held-out "
        "households with any number of children. Lines: 95 % intervals (Wilson), as if a user's rows were all alike.",
        right_bars,
    ),
    Panel(
        "Accuracy by month",
        """
        select method, period, accuracy, accuracy_error, n_users from stage_accuracy
        where cohort = 'all' and not is_suppressed order by all
        """,
        accuracy,
        "On held-out users with one child, whose registrations no model was trained on. Bands: 95 % intervals.",
        accuracy_lines,
    ),
    Panel(
        "Precision and recall",
        """
        select threshold, precision_share as "precision", recall, n_predicted from household_precision_recall
        where n_predicted > 0 order by threshold
        """,
        trade_off,
        "Held-out households: stages predicted from a probability on. Vars marts_min_probability and "
        "marts_min_first_probability are such thresholds.",
        lambda rows, stages: charts.svg(charts.precision_recall(rows)),
    ),
    Panel(
        "Confusion matrix",
        """
        select truths.stage_no as registered_no, true_stage as registered, predictions.stage_no as predicted_no,
            predicted_stage as predicted, count(*) as user_months, count(distinct user_id) as users
        from stage_predictions
        join stages as truths on true_stage = truths.stage
        join stages as predictions on predicted_stage = predictions.stage
        where method = 'birth_month_filter' group by all order by registered_no, predicted_no
        """,
        confused,
        "Predictions of the birth-month filter by registered stage, in percent of the registered stage. All counts are "
        "shown, for this report is internal and they are of your own held-out users; the published marts suppress "
        "counts of few users.",
        confusion,
        wide=True,
    ),
    Panel(
        "Signs of each stage",
        """
        select top_stage_features.stage, coalesce(reason, feature) as sign, weight, feature
        from top_stage_features left join reason_texts using (feature) order by stage, rank
        """,
        signs,
        "Features with the largest weights of the newest model: how much one day with it raises the log-likelihood of "
        "the stage (nats).",
        sign_bars,
        wide=True,
    ),
    Panel(
        "Gain over the stateless baseline",
        """
        select cohort, accuracy_gain as gain, accuracy_gain_error as error, verdict, n_user_months as user_months
        from gain_over_baseline where method = 'birth_month_filter' and period = 'all' and not is_suppressed
        order by gain desc
        """,
        gains,
        "Accuracy of the birth-month filter minus that of the stateless baseline, in points, by cohort. Lines: 95 % "
        "intervals. Groups below vars verdicts_min_cases and verdicts_min_users have no verdict.",
        gain_bars,
    ),
    Panel(
        "Calibration",
        """
        select method, mean_probability, accuracy, lowest_accuracy, highest_accuracy, n_user_months
        from stage_calibration
        where not is_suppressed and method in ('memory_less', 'dynamic_fusion', 'birth_month_filter') order by all
        """,
        calibrated,
        "On the dashed line accuracy equals the predicted probability; below it a method is overconfident. Vertical "
        "lines: 95 % intervals.",
        lambda rows, stages: charts.svg(charts.calibration(rows)),
    ),
    Panel(
        "Forecasts of moves",
        """
        select horizon, stage, threshold, n_listed as listed, n_movers as moved, precision_share as right_share,
            lowest_precision as right_low, highest_precision as right_high, recall as found_share,
            lowest_recall as found_low, highest_recall as found_high
        from outlook_backtest where n_listed is not null order by stage, horizon, threshold
        """,
        forecast,
        "Children of held-out users whose stage was expected to change, by behaviour alone, against their "
        "registrations (outlook_backtest). Lines: 95 % intervals.",
        forecast_bars,
    ),
]
