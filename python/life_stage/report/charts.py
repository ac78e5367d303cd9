"""Charts as SVG for the report and docs/results.md, without scripts or network access.

Colours are CSS variables of the report, with those of its light theme for a file alone.
"""

import math

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
# Safe for colour-blind readers, with the contrast of text on white.
METHOD_COLOURS = [
    f"var(--method-{number}, {colour})"
    for number, colour in enumerate(("#6b6b6b", "#8a6000", "#b34700", "#0072b2", "#00735a"), 1)
]
# Like viridis, from dark to bright in age order, but with the contrast of shapes on white.
STAGE_COLOURS = [
    f"var(--stage-{number}, {colour})"
    for number, colour in enumerate(("#440154", "#414487", "#2a788e", "#1e8f6e", "#5f9a2e", "#b8860b"), 1)
]
ACCENT, CONTRAST = "var(--accent, #0072b2)", "var(--contrast, #b34700)"
PERCENT = "%"
LABEL_HEIGHT, MONTH_WIDTH = 13, 80  # px of a label beside a line, and of a month on its axis
GAPS = "break-paths-show-domains"  # a line never bridges a missing value


def svg(chart: alt.Chart) -> str:
    """The chart as an SVG element, in the colour of the text around it."""
    axis = alt.AxisConfig(
        labelColor="currentColor", titleColor="currentColor", domainColor="currentColor", tickColor="currentColor",
        gridColor="currentColor", gridOpacity=0.12, domainOpacity=0.4, tickOpacity=0.4, titleFontWeight="normal",
        labelFontSize=11, titleFontSize=11,
    )  # fmt: skip
    room = {"left": 2, "top": 8, "bottom": 2, "right": 14}  # right: the reader's font may be wider
    styled = chart.configure(background="var(--card, white)", font="sans-serif", aria=False, axis=axis, padding=room)
    return vl_convert.vegalite_to_svg(styled.configure_view(strokeOpacity=0).to_dict())


def months(found: pd.Series, width: int) -> alt.X:
    """The axis of months (YYYY-MM), with a few labels, the newest month among them."""
    values = sorted(set(found))
    n_labels = max(width // MONTH_WIDTH, 2)
    shown = values[:: -max(math.ceil((len(values) - 1) / (n_labels - 1)), 1)]
    align = {"expr": "datum.index == 0 ? 'left' : datum.index == 1 ? 'right' : 'center'"}
    axis = alt.Axis(values=shown, labelAngle=0, labelAlign=align, grid=False)
    return alt.X("month:O", title=None, axis=axis, scale=alt.Scale(type="point", domain=values, padding=0))


def apart(values: pd.Series, gap: float) -> pd.Series:
    """The values moved up where they are less than a gap apart, so that labels do not overlap."""
    moved, lowest = {}, float("-inf")
    for key, value in values.sort_values().items():
        moved[key] = lowest = max(value, lowest + gap)
    return pd.Series(moved)


def lines(
    rows: pd.DataFrame,
    colours: dict[str, str],
    form: str,
    top: float | None = None,
    band: bool = False,
    width: int = 250,
    height: int = 200,
) -> alt.Chart:
    """Lines over the months, each labelled at its newest value; rows: month, name, value, and low and high of a band.

    Names are the keys of colours. The first line is solid, the others are dashed.
    """
    rows = rows.assign(value=rows["value"].astype(float))
    known = rows.dropna(subset="value").sort_values("month")
    top = top or 1.1 * known["value"].max() or 1.0
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, top]), axis=alt.Axis(format=form, tickCount=4))
    colour = alt.Color("name:N", legend=None).scale(domain=list(colours), range=list(colours.values()))
    dash = alt.StrokeDash("name:N", legend=None).scale(
        domain=list(colours), range=[[1, 0], [4, 2], [7, 2], [2, 2], [9, 3, 2, 3]][: len(colours)]
    )
    last = known.groupby("name").tail(1).set_index("name")
    last = last.assign(place=apart(last["value"], LABEL_HEIGHT * top / height)).reset_index()
    base = alt.Chart(rows).encode(months(rows["month"], width), color=colour)
    drawn = base.mark_line(invalid=GAPS).encode(y, dash) + base.transform_filter(
        "isValid(datum.value)"
    ).mark_point(filled=True, size=14, opacity=1).encode(y)  # fmt: skip
    if band:
        drawn = base.mark_area(opacity=0.12).encode(alt.Y("low:Q"), alt.Y2("high:Q")) + drawn
    labels = (
        alt.Chart(last)
        .mark_text(align="left", dx=6, fontSize=11)
        .encode(alt.X("month:O"), alt.Y("place:Q"), alt.Text("label:N"), colour)
    )
    return (drawn + labels).properties(width=width, height=height)


def methods_by_month(rows: pd.DataFrame, value: str, width: int = 420, height: int = 260) -> alt.Chart:
    """Lines of methods over the months (period), with bands of 95 % from the column <value>_error."""
    shown = rows[rows["method"].isin(METHODS)]
    error = 1.96 * shown[f"{value}_error"].astype(float)
    named = shown["method"].map(METHODS)
    shown = shown.assign(name=named, label=named, month=shown["period"], value=shown[value])
    shown = shown.assign(low=shown[value] - error, high=shown[value] + error)
    return lines(shown, method_colours(shown), PERCENT, 1.0, True, width, height)


def method_colours(shown: pd.DataFrame) -> dict[str, str]:
    """The colours of the methods that are shown, the same in every chart; the default method first."""
    colours = dict(zip(METHODS.values(), METHOD_COLOURS, strict=True))
    order = ["birth-month filter", *colours]
    return {name: colours[name] for name in dict.fromkeys(order) if name in set(shown["name"])}


def calibration(rows: pd.DataFrame, size: int = 280) -> alt.Chart:
    """Reliability diagram: accuracy by predicted probability, with intervals. The diagonal is perfect calibration."""
    shown = rows[rows["method"].isin(METHODS) & (rows["n_user_months"] >= 20)]
    shown = shown.assign(name=shown["method"].map(METHODS))
    colours = method_colours(shown)
    colour = alt.Color("name:N", title=None, sort=list(colours)).scale(
        domain=list(colours), range=list(colours.values())
    )
    legend = alt.Legend(orient="bottom", columns=2, labelColor="currentColor", labelLimit=200)
    x = alt.X("mean_probability:Q", title="predicted probability", axis=alt.Axis(format="%", tickCount=5))
    y = alt.Y("accuracy:Q", title="accuracy", axis=alt.Axis(format="%", tickCount=5))
    ends = alt.Chart(pd.DataFrame({"p": [0, 1]}))
    diagonal = ends.mark_line(color="currentColor", opacity=0.5, strokeDash=[4, 4]).encode(x="p:Q", y="p:Q")
    drawn = alt.Chart(shown).mark_line(point=True).encode(x, y, colour.legend(legend))
    if "lowest_accuracy" in shown:
        ends_of = alt.Y("lowest_accuracy:Q", title="accuracy"), alt.Y2("highest_accuracy:Q")
        drawn = alt.Chart(shown).mark_rule(opacity=0.6).encode(x, *ends_of, colour.legend(legend)) + drawn
    return (diagonal + drawn).properties(width=size, height=size)


def precision_recall(rows: pd.DataFrame) -> alt.Chart:
    """Precision by recall; points are thresholds of the probability."""
    x = alt.X("recall:Q", title="share of the children found", axis=alt.Axis(format="%", tickCount=5))
    y = alt.Y("precision:Q", title="share of the rows that are right", axis=alt.Axis(format="%", tickCount=5))
    x, y = (axis.scale(domain=[0, 1]) for axis in (x, y))
    line = alt.Chart(rows).mark_line(point=True, color=ACCENT).encode(x, y)
    some = rows[rows["threshold"].round(2).isin([0.1, 0.3, 0.5, 0.7, 0.9])]
    labels = alt.Chart(some).mark_text(dx=-6, dy=11, align="right", color="currentColor")
    return (line + labels.encode(x, y, alt.Text("threshold:Q", format=".1f"))).properties(width=280, height=240)


def stacked(rows: pd.DataFrame, names: list[str], colours: list[str], width: int = 230, height: int = 260) -> alt.Chart:
    """Shares by month as bars in the order of names, labelled beside the newest month; rows: month, name, share."""
    rows = rows[rows["name"].isin(names)].assign(place=rows["name"].map(names.index), share=rows["share"].astype(float))
    newest = rows[rows["month"] == rows["month"].max()].sort_values("place")
    newest = newest.assign(middle=newest["share"].cumsum() - newest["share"] / 2)
    newest = newest[newest["share"] >= 0.03].set_index("name")
    newest = newest.assign(at=apart(newest["middle"], LABEL_HEIGHT / height)).reset_index()
    newest = newest.assign(label=newest["name"] + newest["share"].map(" {:.0%}".format))
    x = months(rows["month"], width).scale(type="band", paddingInner=0.08, paddingOuter=0)
    y = alt.Y("share:Q", title=None, stack="zero", axis=alt.Axis(format="%", tickCount=5)).scale(domain=[0, 1])
    colour = alt.Color("name:N", legend=None, sort=names).scale(domain=names, range=colours)
    drawn = alt.Chart(rows).mark_bar(stroke="var(--card, white)", strokeWidth=0.75)
    drawn = drawn.encode(x, y, colour, alt.Order("place:Q", sort="ascending"))
    labels = alt.Chart(newest).mark_text(align="left", fontSize=11, color="currentColor")
    labels = labels.encode(alt.Y("at:Q"), alt.Text("label:N"), x=alt.value(width + 6))
    return (drawn + labels).properties(width=width, height=height)


def columns(rows: pd.DataFrame, value: str, width: int = 320, height: int = 140) -> alt.Chart:
    """A bar for each month; rows: month and the value."""
    x = months(rows["month"], width).scale(type="band", paddingInner=0.15, paddingOuter=0)
    y = alt.Y(f"{value}:Q", title=None, axis=alt.Axis(format="~s", tickCount=4))
    return alt.Chart(rows).mark_bar(color=ACCENT).encode(x, y).properties(width=width, height=height)


def sparkline(values: list[float | None]) -> str:
    """A line without axes, from zero; missing values are gaps."""
    top = max([value for value in values if value is not None], default=0) or 1
    step = 100 / max(len(values) - 1, 1)
    path, pen = "", "M"
    for place, value in enumerate(values):
        path += "" if value is None else f"{pen}{place * step:.1f} {28 - 26 * value / top:.1f}"
        pen = "M" if value is None else "L"
    line = f'<path d="{path}" fill="none" stroke="{ACCENT}" stroke-width="2" vector-effect="non-scaling-stroke"/>'
    return f'<svg viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true">{line}</svg>'
