"""Checks of the project's vars before a run changes anything: only checked values reach SQL.

macros/preflight.sql calls `wrong_settings` through the modules of dbt's Jinja context (python/dbt_life_stage.py).
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from life_stage.engine.feature_checks import Nodes, groups_in, wrong_reads, wrong_text

MONTH = "([0-9]{4}-(0[1-9]|1[0-2]))?"
NAME = "[a-z][a-z0-9_]*"
MIN_EDGES = 4  # of the bins below and above the stages
MODEL = "(ref\\('[A-Za-z_][A-Za-z0-9_]*'\\))?"
PATTERNS = {
    "source_schema": "([A-Za-z_][A-Za-z0-9_]*)?",
    "source_actions": MODEL,
    "source_items": MODEL,
    "source_children": MODEL,
    "source_consents": MODEL,
    "business_timezone": "[A-Za-z0-9_+/-]+",
    "run_clock": "([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2})?",
    "source_date_order": "ymd|dmy|mdy",
    "source_action_codes": "(tianchi|tmall|jdata|ga360)?",
    "rejections_on_shift": "fail|warn",
    "consents_purpose": "[A-Za-z0-9_. -]+",
    "training_labels": "registrations|age_words",
    "fusion_method": "birth_month_filter|dynamic_fusion",
    "fusion_merge": "mean|product",
    "through_month": MONTH,
    "backfill_from": MONTH,
    "evaluation_from": MONTH,
}
RANGES = {
    "rejections_max_quantity": (1, 1_000_000),
    "rejections_max_share": (0, 1),
    "rejections_max_lost_share": (0, 1),
    "rejections_min_fit": (0, 1),
    "training_share": (0.1, 1),
    "training_validation_share": (0, 0.5),
    "consents_max_withdrawn_share": (0, 1),
    "marts_min_probability": (0.05, 0.95),
    "marts_min_first_probability": (0.05, 0.999),
    "marts_min_further_probability": (0.05, 0.999),
    "training_min_users": (1, 10_000_000),
    "training_min_feature_support": (1, 1_000_000),
    "training_every_months": (0, 1200),
    "marts_min_evidence": (0, 1200),
    "retention_actions_months": (0, 1200),
    "retention_features_months": (0, 1200),
    "marts_stale_after_months": (1, 1200),
    "marts_min_cell_users": (1, 1_000_000),
    "training_quality_floor": (0, 1),
    "verdicts_min_cases": (1, 10_000_000),
    "verdicts_min_users": (1, 10_000_000),
    "verdicts_margin": (0, 1),
    "checkout_stage_floor": (0, 1),
    "checkout_months": (0, 120),
    "checkout_queries": (1, 10_000_000),
    "checkout_half_life_days": (1, 3650),
    "checkout_seed": (0, 1_000_000),
    "checkout_new_places": (0, 10),
    "checkout_items": (2, 50_000),
}
SWITCHES = (
    "training_fine_tuning",
    "training_tune_penalties",
    "training_rescore_after_corrections",
    "infer_pregnancy",
    "checkout_even_stages",
    "checkout_deep",
    "consents_required",
)
LISTS = ("stages", "age_bin_edges", "features", "experiments", "source_placeholder_ids")
NAMES = (*PATTERNS, *RANGES, *SWITCHES, *LISTS)
GROUPS = ("source", "consents", "rejections", "retention", "training", "verdicts", "fusion", "marts", "checkout")
RENAMED = {  # version 0.1: 0.2
    "checkout_cases": "checkout_queries",
    "consent_purpose": "consents_purpose",
    "filter_tuning": "training_fine_tuning",
    "keep_actions_months": "retention_actions_months",
    "keep_features_months": "retention_features_months",
    "max_quantity": "rejections_max_quantity",
    "max_rejected_share": "rejections_max_share",
    "max_withdrawn_share": "consents_max_withdrawn_share",
    "min_cell_users": "marts_min_cell_users",
    "min_evidence": "marts_min_evidence",
    "min_feature_support": "training_min_feature_support",
    "min_first_probability": "marts_min_first_probability",
    "min_further_probability": "marts_min_further_probability",
    "min_probability": "marts_min_probability",
    "min_training_users": "training_min_users",
    "quality_floor": "training_quality_floor",
    "restate_from": "backfill_from",
    "retrain_every_months": "training_every_months",
    "stale_after_months": "marts_stale_after_months",
    "train_share": "training_share",
    "tune_penalties": "training_tune_penalties",
    "validation_share": "training_validation_share",
}
MONTHS_OF_A_YEAR = 12


def wrong_settings(values: dict[str, Any], given: list[str], run: dict[str, Any]) -> list[str]:
    """Messages with error codes about every wrong var; empty: all are right.

    values: {var: value}; given: names on the command line and in groups; run: `schema` of the warehouse, `clock` of the
    run, `timezones`, `states_outside` (names that no stage may have), `columns_of_user_stages`, `nodes` of dbt's
    graph, and `first_actions_month` and `first_features_month` that retention left (YYYY-MM-DD).
    """
    wrong = [unknown(name) for name in given if name not in (*NAMES, *GROUPS)]
    wrong += [invalid(values, name, must) for name, must in unmet(values, run["schema"])]
    return wrong or [
        *calendar(values, run),
        *retention(values, run),
        *stages(values, run),
        *experiments(values["experiments"]),
        *features(values["features"], run["nodes"]),
    ]


def unknown(name: str) -> str:
    """The message about a var that does not exist."""
    if name in RENAMED:
        return f"LS-VAR-001 unknown var {name}: it is called {RENAMED[name]} since version 0.2"
    return f"LS-VAR-001 unknown var {name}: known are {', '.join(NAMES)}"


def invalid(values: dict[str, Any], name: str, must: str) -> str:
    """The message about a var with an invalid value."""
    return f"LS-VAR-002 var {name} is '{values[name]}': it must {must}"


def unmet(values: dict[str, Any], schema: str) -> list[tuple[str, str]]:
    """Each var whose value breaks its rule, with the rule."""
    wrong = [(name, "have a value") for name in NAMES if values[name] is None]
    if wrong:
        return wrong
    wrong = [(n, f"match {p}") for n, p in PATTERNS.items() if not re.fullmatch(p, str(values[n]))]
    for name, (least, most) in RANGES.items():
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            wrong.append((name, f"be a number from {least} to {most}"))
        elif name == "retention_features_months" and 0 < value <= MONTHS_OF_A_YEAR:
            wrong.append((name, "be 0 or at least 13, because a month is compared with the same month a year before"))
    wrong += [(name, "be true or false") for name in SWITCHES if not isinstance(values[name], bool)]
    wrong += [(name, "be a list") for name in LISTS if not isinstance(values[name], list)]
    if values["source_schema"] == schema:
        wrong.append(("source_schema", "name a schema other than the warehouse's own"))
    return wrong


def calendar(values: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """Messages about a time, a time zone or a month that does not exist or lies in the future."""
    wrong = []
    tomorrow = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)
    try:
        if datetime.fromisoformat(run["clock"]) > tomorrow:  # it could not go back
            wrong.append(invalid(values, "run_clock", "not lie in the future"))
    except ValueError:
        wrong.append(invalid(values, "run_clock", "be a valid time"))
    if values["business_timezone"] not in run["timezones"]:
        wrong.append(invalid(values, "business_timezone", "be an IANA name"))
    for name in ("through_month", "backfill_from", "evaluation_from"):
        if values[name] > run["clock"][:7]:
            wrong.append(invalid(values, name, "not lie in the future"))
    return wrong


def retention(values: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """Messages about vars that need months past retention."""
    actions, features = run["first_actions_month"], run["first_features_month"]
    needed = [
        ("backfill_from", values["backfill_from"], max(actions, features)),
        ("evaluation_from", values["evaluation_from"], features),
    ]
    needed += [
        ("experiments", str(e.get("first_month")), actions) for e in values["experiments"] if isinstance(e, dict)
    ]
    return [
        f"LS-VAR-005 var {name} needs {month}, but actions or features of months before {first[:7]} were dropped:"
        " give a later month (var retention_actions_months, retention_features_months)"
        for name, month, first in needed
        if month and month < first[:7]
    ]


def experiments(entries: list) -> list[str]:
    """Messages about invalid entries of var experiments."""
    names = [entry.get("name") for entry in entries if isinstance(entry, dict)]
    wrong = []
    for entry in entries:
        match entry:
            case {"name": str(name), "first_month": month, "treated_share": int(share) | float(share)} if (
                re.fullmatch(NAME, name)
                and names.count(name) == 1
                and re.fullmatch(MONTH, str(month or "-"))
                and 0 < share < 1
            ):
                continue
        wrong.append(
            f"LS-VAR-004 experiment {entry} in var experiments is invalid: give each a distinct name in lower case,"
            " a first_month YYYY-MM and a treated_share between 0 and 1"
        )
    return wrong


def stages(values: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """Messages about vars stages and age_bin_edges, invalid or other than the contract of user_stages."""
    edges, outside = values["age_bin_edges"], run["states_outside"]
    if not all(isinstance(edge, int) for edge in edges) or edges != sorted(set(edges)) or len(edges) < MIN_EDGES:
        return [f"LS-VAR-003 var age_bin_edges is {edges}: give at least {MIN_EDGES} months in ascending order"]
    wrong, names, end = [], [], None
    for stage in values["stages"]:
        match stage:
            case {"to_month": int(last)} if last <= 0 and not values["infer_pregnancy"]:
                continue
            case {"name": str(name), "from_month": int(first), "to_month": int(last)} if (
                re.fullmatch(NAME, name)
                and name not in ("not_yet", "graduated", *outside, *names)
                and end in (None, first)
                and edges[1] <= first < last <= edges[-2]
                and (first >= 0 or values["infer_pregnancy"])
            ):
                names.append(name)
                end = last
            case _:
                wrong.append(
                    f"LS-VAR-003 stage {stage} is invalid: give distinct names in lower case, begin each stage where"
                    " the one before ends, stay within the inner age_bin_edges, and let no stage span birth if"
                    " infer_pregnancy is false"
                )
    published = {name.removeprefix("p_") for name in run["columns_of_user_stages"] if name.startswith("p_")}
    if not wrong and published - set(outside) != set(names):
        wrong.append(
            f"LS-VAR-003 var stages names {', '.join(names)}: models/life_stage/marts/_marts.yml has other p_ columns:"
            " run `life-stage stages`"
        )
    return wrong


def features(names: list, nodes: Nodes) -> list[str]:
    """Messages about var features and the files of feature groups; dbt says which listed ones have no file."""
    if len(set(map(str, names))) != len(names):
        return [f"LS-VAR-002 var features is {names}: give a list of distinct names"]
    wrong = []
    for name, node in groups_in(nodes).items():
        path = node["original_file_path"]
        if name not in names:
            wrong.append(
                f"LS-FEA-001 {path} is not listed: add {name} to var features in dbt_project.yml, or remove the file"
            )
        else:
            wrong += filter(None, (wrong_text(name, node["raw_code"]), wrong_reads(node)))
    return wrong
