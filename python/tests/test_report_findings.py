"""Findings of the report: titles are computed from the rows, gaps stay gaps, colours have contrast."""

import re

import pandas as pd
import pytest
from project import PROJECT
from report_page import PANELS

from life_stage.report import audience, charts, data, explain, markup, onboarding, quality
from life_stage.report.panels import Panel


def frame(columns: str, *rows: tuple) -> pd.DataFrame:
    """Rows of the named columns."""
    return pd.DataFrame(rows, columns=columns.split())


COUNTS = "month stage users"
FLOWS = "month stage entering leaving"
RIGHT = "rows right_share low high"
GAINS = "cohort gain verdict"
PAIRS = "registered_no registered predicted_no predicted user_months users"
DRIFT = "measure month stability_index warn_above level is_newest"
CALENDAR = "month status is_closed rows_read"
FINDINGS = [
    (
        audience.growth,
        frame(
            COUNTS,
            ("2017-01", "toddler", 100),
            ("2017-02", "toddler", 138),
            ("2017-01", "infant", 50),
            ("2017-02", "infant", 45),
        ),
        "Toddler grew most: +38 since January 2017; infant shrank most: -5",
    ),
    (
        audience.growth,
        frame(
            COUNTS,
            ("2016-12", "a", 20),
            ("2017-02", "a", 20),
            ("2016-12", "b", 30),
            ("2017-02", "b", 30),
            ("2017-02", "c", None),
        ),
        "No stage grew since December 2016; no stage shrank (2 of 3 stages have counts)",
    ),
    (audience.growth, frame(COUNTS, ("2017-02", "a", 20), ("2017-02", "b", 20)), ""),
    (
        audience.growth,
        frame(COUNTS, ("2017-01", "a", 20), ("2017-02", "a", None), ("2017-01", "b", 1), ("2017-02", "b", 2)),
        "",
    ),
    (
        audience.moves,
        frame(
            FLOWS,
            ("2017-01", "a", 99, 99),
            ("2017-02", "a", 20, 41),
            ("2017-02", "b", 40, 30),
            ("2017-02", "c", None, None),
        ),
        "40 users entered b in February 2017, 41 left a: most of the 2 of 3 stages with counts",
    ),
    (audience.moves, frame(FLOWS, ("2017-02", "a", 20, 41), ("2017-02", "b", None, None)), ""),
    (
        audience.sources,
        frame("stage children registered", ("a", 60, 40), ("b", 40, 35)),
        "75 % of 100 rows are of registered children",
    ),
    (
        audience.next_stages,
        frame(
            "month horizon stage children",
            ("2017-03", 1, "a", 20.4),
            ("2017-03", 1, "b", 30.6),
            ("2017-04", 2, "a", 99.0),
        ),
        "31 children are expected to enter b by March 2017",
    ),
    (audience.next_stages, frame("month horizon stage children", ("2017-04", 2, "a", 99.0)), ""),
    (
        audience.favourite,
        frame("stage category lift", ("toddler", "hats", 1.2), ("newborn", "cots", 3.96)),
        "Newborn differs most: cots 4.0 times as frequent as among all users",
    ),
    (
        audience.childless,
        frame("model share", ("2017-02", 0.656), ("2016-11", 0.5)),
        "66 % of the users without a registration have no child and expect none, as estimated",
    ),
    (
        quality.right_rows,
        frame(
            RIGHT,
            ("all rows", 0.79, 0.75, 0.83),
            ("stage: a", 0.9, 0.86, 0.94),
            ("stage: b", 0.7, 0.59, 0.79),
            ("confidence: low", 0.6, 0.5, 0.7),
        ),
        "79 % (75 to 83 %) of the rows are right by behaviour alone; the weakest stage is b with 70 % (59 to 79 %)",
    ),
    (quality.right_rows, frame(RIGHT, ("stage: a", 0.9, 0.86, 0.94)), ""),
    (
        quality.confused,
        frame(PAIRS, (1, "a", 1, "a", 50, 5), (1, "a", 2, "b", 3, 2), (1, "a", 3, "c", 1, 1), (3, "c", 2, "b", 4, 1)),
        "88 % of the 8 mistakes are one stage off, most often c taken for b (4)",
    ),
    (
        quality.confused,
        frame(PAIRS, (1, "a", 1, "a", 50, 5), (2, "b", 1, "a", 4, 2), (1, "a", 2, "b", 4, 2)),
        "100 % of the 8 mistakes are one stage off, most often a taken for b (4)",
    ),
    (quality.confused, frame(PAIRS, (1, "a", 1, "a", 50, 5)), "No mistake in 50 user-months"),
    (quality.confused, frame(PAIRS, (1, "a", 1, "a", 5, 5), (1, "a", 2, "b", 1, 1)), ""),
    (
        quality.accuracy,
        frame(
            "method period accuracy",
            ("birth_month_filter", "all", 0.777),
            ("memory_less", "all", 0.442),
            ("memory_less", "2017-02", 0.9),
        ),
        "The birth-month filter is right for 78 % of user-months, the baseline for 44 %",
    ),
    (quality.accuracy, frame("method period accuracy", ("birth_month_filter", "all", 0.777)), ""),
    (
        quality.gains,
        frame(GAINS, ("all", 0.3, "better"), ("a", 0.27, "better"), ("b", 0.38, "better"), ("c", 0.9, "too few")),
        "Better than the baseline in all 2 groups of enough users, by +27 to +38 points",
    ),
    (
        quality.gains,
        frame(GAINS, ("a", 0.1, "undecided"), ("b", 0.3, "better"), ("c", -0.3, "worse")),
        "Better than the baseline in 1 of 3 groups beyond chance, worse in 1",
    ),
    (
        quality.calibrated,
        frame(
            "method mean_probability accuracy n_user_months",
            ("birth_month_filter", 0.9, 0.8, 75),
            ("birth_month_filter", 0.5, 0.4, 25),
            ("x", 0, 1, 99),
        ),
        "The filter predicts 80 % on average and is right for 70 %: it is overconfident",
    ),
    (
        quality.calibrated,
        frame("method mean_probability accuracy n_user_months", ("birth_month_filter", 0.9, 0.8, 19)),
        "",
    ),
    (
        quality.trade_off,
        frame("threshold precision recall", (0.5, 0.78, 0.68), (0.7, 0.854, 0.573), (0.9, 0.9, 0.3)),
        "From a probability of 0.7 on, 85 % of the rows are right and 57 % of the children are found",
    ),
    (
        quality.signs,
        frame("stage sign weight", ("a", "hats", 0.5), ("b", "cots", 1.2)),
        "The clearest sign is “cots”, for b",
    ),
    (
        quality.forecast,
        frame(
            "horizon stage threshold right_share found_share",
            (2, "all", 0.5, 0.9, 0.9),
            (3, "all", 0.5, 0.6, 0.3),
            (3, "all", 0.7, 0.75, 0.16),
            (3, "a", 0.9, 1, 1),
        ),
        "75 % of the children listed 3 months ahead with a probability above 0.7 moved;"
        " 16 % of those that moved were listed",
    ),
    (
        data.volume,
        frame(
            CALENDAR,
            ("2017-01", "present", True, 1000),
            ("2017-02", "present", True, 420),
            ("2017-03", "present", False, 5),
        ),
        "420 rows in February 2017, 58 % fewer than the month before",
    ),
    (
        data.volume,
        frame(
            CALENDAR,
            ("2016-12", "missing", True, 0),
            ("2017-01", "missing", True, 0),
            ("2017-02", "present", True, 420),
        ),
        "2 months missing, the newest is January 2017",
    ),
    (data.volume, frame(CALENDAR, ("2017-02", "present", True, 420)), ""),
    (
        data.rejections,
        frame(
            "table_name reason rows share rejected_of_table",
            ("actions", "item_missing", 3, 0.003, 0.004),
            ("actions", "x", 1, 0.001, 0.004),
            ("children", "y", 9, 0.5, 0.5),
        ),
        "0.4 % of the action rows are rejected; the most frequent reason is item missing (0.3 %)",
    ),
    (data.checks, frame("check warning", ("a", ""), ("b", "LS-SRC-010 x")), "1 check of the newest delivery failed"),
    (data.checks, frame("check warning", ("a", "")), "No check failed"),
    (
        data.drifted,
        frame(
            DRIFT,
            ("x", "2017-02", 0.2, 0.1, "warn", True),
            ("y", "2017-02", 0.3, 0.1, "warn", True),
            ("z", "2017-01", 9.0, 0.1, "error", False),
        ),
        "2 measures are above their threshold warn, most y in February 2017",
    ),
    (
        data.drifted,
        frame(DRIFT, ("x", "2017-02", 0.05, 0.1, "ok", True), ("y", "2017-02", 0.06, 0.2, "ok", True)),
        "No drift: x is nearest to its threshold, at 50 % of it",
    ),
    (
        data.measures,
        frame(
            "month measure share",
            *((f"2017-0{n}", data.UNKNOWN, share) for n, share in ((1, 0.01), (2, 0.02), (3, 0.03), (4, 0.05))),
        ),
        "5 % of the actions of April 2017 are unknown to the model; the median before is 2 %",
    ),
    (
        data.newest_run,
        frame("status seconds", ("succeeded", 78.4), ("failed", 1), ("succeeded", 60), ("succeeded", 80)),
        "The newest run took 1 min 18 s; the median of the 2 before is 1 min 10 s",
    ),
    (data.newest_run, frame("status seconds", ("succeeded", 3725.0)), "The newest run took 1 h 2 min"),
    (
        data.newest_run,
        frame("status seconds error_code", ("failed", None, "LS-SRC-002"), ("succeeded", 60, None)),
        "The newest run failed (LS-SRC-002)",
    ),
    (
        data.models,
        frame("trained_through training_users", ("2017-02", 1754)),
        "The newest model was trained through February 2017, on 1,754 users",
    ),
    (
        explain.first_reasons,
        frame("kind children median_share", ("registration", 75, 0.5), ("feature", 25, 0.2)),
        "The first reason is a registration for 75 % of the children, and holds 50 % of the evidence",
    ),
    (
        explain.next_stage,
        frame(
            "month stage probability",
            ("2017-02", "a", 0.6),
            ("2017-02", "b", 0.4),
            ("2017-03", "a", 0.4),
            ("2017-03", "b", 0.6),
        ),
        "B is more probable from March 2017 on",
    ),
    (
        onboarding.labels,
        frame("training_users needed", (88, 300)),
        "88 of 300 training users with one registered child: 212 are missing",
    ),
    (
        onboarding.registered,
        frame("stage users", ("a", 17), ("b", 2), ("c", 5)),
        "B has the fewest registered users: 2",
    ),
]


@pytest.mark.parametrize(
    ("title", "rows", "expected"), FINDINGS, ids=[f"{title.__name__}-{n}" for n, (title, *_) in enumerate(FINDINGS)]
)
def test_a_title_is_the_finding_of_its_rows(title, rows, expected):
    assert title(rows) == expected


def test_every_panel_has_an_example_of_its_finding():
    assert {panel.title for panel in PANELS} - {title for title, *_ in FINDINGS} == {data.dictionary}


def test_where_there_is_no_finding_the_name_is_the_title():
    rows = frame(COUNTS, ("2017-02", "a", 20))
    shown = Panel("Stage mix", "", audience.growth).shown(rows, ["a"])
    assert "<h3>Stage mix</h3>" in shown and 'class="name"' not in shown


def test_a_suppressed_month_is_a_gap_in_the_lines_of_flows():
    months = ["2016-10", "2016-11", "2016-12", "2017-01", "2017-02"]
    rows = pd.DataFrame(
        {"month": months * 2, "stage": ["a"] * 5 + ["b"] * 5, "entering": [30, 31, None, 33, 34] + [None] * 5}
    )
    rows["leaving"] = rows["entering"] + 10
    shown = audience.flows(rows, ["a", "b"])
    assert shown.count("<svg") == 1 and '<h4>b</h4><p class="note">Suppressed in every month.</p>' in shown
    lines = re.findall(r'<g class="mark-line[^>]*>(.*?)</g>', shown, flags=re.S)
    assert [len(re.findall("M", path)) for line in lines for path in re.findall(r' d="([^"]*)"', line)] == [2, 2]
    assert ">entering 34</text>" in shown and ">leaving 44</text>" in shown
    flows = next(panel for panel in audience.PANELS if panel.draw is audience.flows)
    assert "A gap in a line is a month whose counts are suppressed" in flows.text


def test_the_sparkline_of_a_tile_has_gaps():
    assert re.findall(r'd="([^"]*)"', charts.sparkline([10, None, 5])) == ["M0.0 2.0M100.0 15.0"]


def test_labels_beside_lines_do_not_overlap():
    assert charts.apart(pd.Series({"a": 5.0, "b": 5.0, "c": 9.0}), 2).to_dict() == {"a": 5, "b": 7, "c": 9}


def test_thresholds_of_drift_are_those_of_its_levels():
    """macros/drift.sql sets the levels; the strokes of the chart must lie where they change."""
    macro = (PROJECT / "macros" / "drift.sql").read_text()
    assert "(0.25 + 3 * by_chance)" in macro and "stability_index > 0.1 + 3 * by_chance" in macro
    rows = frame(
        DRIFT + " error_above",
        ("x", "2017-02", 0.2, 0.1, "warn", True, 0.25),
        ("z", "2017-01", 9.0, 0.1, "error", False, 0.25),
    )
    shown = data.drift_bars(rows, [])
    assert (
        re.findall(r'<s style="left:(.*?)%">', shown) == ["40.0", "100.0"]
        and 'class="bad" style="width:80.0%"' in shown
    )


def luminance(colour: str) -> float:
    """Relative luminance of WCAG."""
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast of WCAG."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_texts_and_shapes_have_contrast_in_both_themes():
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w+)", theme))
        for theme in re.findall(r":root \{(.*?)\}", markup.STYLE, flags=re.S)
    )
    assert set(light) == set(dark) and "@media screen and (prefers-color-scheme: dark)" in markup.STYLE
    for theme in (light, dark):
        for name, colour in theme.items():
            if name in ("alarm", "badge"):
                assert contrast(colour, "#fff") >= 4.5, name
            elif name in ("ink", "muted", "accent", "contrast") or name.startswith("method"):
                assert min(contrast(colour, theme["card"]), contrast(colour, theme["paper"])) >= 4.5, name
            elif name.startswith("stage"):
                assert contrast(colour, theme["card"]) >= 3, name
    in_file = {name: colour for name, colour in re.findall(r"--([\w-]+), (#\w+)", " ".join(charts.STAGE_COLOURS))}
    assert in_file == {name: colour for name, colour in light.items() if name.startswith("stage")}
