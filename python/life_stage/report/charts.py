"""Charts as SVG for the report and docs/results.md, without scripts or network access."""

import altair as alt
import pandas as pd
import vl_convert

METHODS = {
    "memory_less": "stateless baseline",
    "dynamic_fusion_cold": "dynamic fusion, 6 months",
    "dynamic_fusion": "dynamic fusion, all months",
    "birth_month_filter": "birth-month filter",
    "attainable": "upper bound (oracle)",
}
COLOURS = ["#767676", "#e69f00", "#d55e00", "#0072b2", "#009e73"]  # safe for colour-blind readers
STAGE_COLOURS = [
    "#440154",
    "#414487",
    "#2a788e",
    "#22a884",
    "#7ad151",
    "#e0c000",
]  # viridis: ordered in greyscale
PERCENT = alt.Axis(format="%")
MONTHS = alt.Axis(labelAngle=-90, labelOverlap=True)


def svg(chart: alt.Chart) -> str:
    """The chart as an SVG element."""
    return vl_convert.vegalite_to_svg(chart.configure(background="white", font="sans-serif").to_dict())


def of_methods(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the methods in METHODS, with their labels."""
    return rows[rows["method"].isin(METHODS)].assign(name=lambda frame: frame["method"].map(METHODS))


def method_colour(rows: pd.DataFrame) -> alt.Color:
    """A method's colour, the same in every chart."""
    shown = [name for name in METHODS.values() if name in set(rows["name"])]
    colours = [COLOURS[list(METHODS.values()).index(name)] for name in shown]
    return alt.Color("name:N", title=None, sort=shown, legend=alt.Legend(orient="bottom", columns=2)).scale(
        domain=shown, range=colours
    )


def methods_by_month(rows: pd.DataFrame, value: str, title: str) -> alt.Chart:
    """Lines of methods over the months (period), with bands of 95 % from the column <value>_error."""
    shown = of_methods(rows)
    error = shown[f"{value}_error"].astype(float)
    shown = shown.assign(low=shown[value] - 1.96 * error, high=shown[value] + 1.96 * error)
    base = alt.Chart(shown).encode(x=alt.X("period:O", title=None, axis=MONTHS), color=method_colour(shown))
    y = alt.Y(f"{value}:Q", title=title, axis=PERCENT, scale=alt.Scale(domain=[0, 1]))
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q"), y2="high:Q")
    return (base.mark_line(point=True).encode(y=y) + band).properties(width=480, height=260)


def calibration(rows: pd.DataFrame) -> alt.Chart:
    """Reliability diagram: accuracy by predicted probability. The diagonal is perfect calibration."""
    shown = of_methods(rows[rows["n_user_months"] >= 20])
    line = alt.Chart(pd.DataFrame({"p": [0, 1]})).mark_line(color="#999999", strokeDash=[4, 4]).encode(x="p:Q", y="p:Q")
    dots = (
        alt.Chart(shown)
        .mark_line(point=True)
        .encode(
            x=alt.X("mean_probability:Q", title="predicted probability", axis=PERCENT),
            y=alt.Y("accuracy:Q", title="accuracy", axis=PERCENT),
            color=method_colour(shown),
        )
    )
    return (line + dots).properties(width=320, height=320)


def stage_colour(stages: list[str]) -> alt.Color:
    """Stage colours from dark to bright in age order."""
    return alt.Color("stage:N", title=None, sort=stages, legend=alt.Legend(orient="bottom", columns=3)).scale(
        domain=stages, range=STAGE_COLOURS[: len(stages)] if len(stages) <= len(STAGE_COLOURS) else alt.Undefined
    )


def matrix(rows: pd.DataFrame, down: str, across: str, value: str, order: list[str], form: str) -> alt.Chart:
    """Heat map with its values as text."""
    y, x = alt.Y(f"{down}:N", sort=order), alt.X(f"{across}:N", sort=order, axis=alt.Axis(labelAngle=-40))
    base = alt.Chart(rows).encode(x, y)
    cells = base.mark_rect().encode(alt.Color(f"{value}:Q", legend=None).scale(scheme="blues", domainMin=0))
    middle = rows[value].max() * 0.6
    dark = alt.condition(alt.datum[value] > middle, alt.value("white"), alt.value("black"))
    return (cells + base.mark_text().encode(alt.Text(f"{value}:Q", format=form), color=dark)).properties(
        width=360, height=260
    )
