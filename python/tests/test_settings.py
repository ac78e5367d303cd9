"""Rules of the vars, each broken once: only checked values reach SQL."""

import json
from datetime import datetime

import pytest
import pytz
import yaml
from project import PROJECT

from life_stage.commands.command_line import vars_option
from life_stage.engine.settings import GROUPS, RENAMED, wrong_settings

DECLARED = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]
VALUES = {name: value for name, value in DECLARED.items() if name not in GROUPS}
VALUES |= {f"{group}_{key}": value for group in GROUPS for key, value in DECLARED[group].items()}


def feature_node(name, sql="select 1", reads="model.life_stage.stg_items"):
    """A feature group in dbt's graph."""
    path = f"models/life_stage/features/{name}.sql"
    parents = {"nodes": [reads] if reads else []}
    return {
        "name": name,
        "resource_type": "model",
        "original_file_path": path,
        "raw_code": sql,
        "depends_on": parents,
    }


RUN = {
    "schema": "main",
    "clock": "2017-03-02 03:00:00",
    "timezones": pytz.all_timezones,
    "states_outside": ["no_child", "not_expecting", "aged_out"],
    "columns_of_user_stages": ["user_id", "p_no_child", *(f"p_{stage['name']}" for stage in DECLARED["stages"])],
    "nodes": {f"model.life_stage.{name}": feature_node(name) for name in DECLARED["features"]},
    "first_actions_month": "0001-01-01",
    "first_features_month": "0001-01-01",
}
PREGNANCY, NEWBORN, *OLDER = DECLARED["stages"]
TRIAL = {"name": "trial", "first_month": "2016-09", "treated_share": 0.5}


def messages(changes=None, given=(), **run):
    return wrong_settings(VALUES | (changes or {}), list(given), RUN | run)


def test_the_declared_values_are_right():
    assert messages(given=VALUES) == []


@pytest.mark.parametrize(
    ("code", "sql", "reads"),
    [
        ("LS-FEA-006", "select 1;", "model.life_stage.stg_items"),
        ("LS-FEA-007", "select * from stg_items", None),
        ("LS-FEA-008", "select 1", "source.life_stage.shop.children"),
    ],
)
def test_a_feature_group_that_cannot_run_or_reads_too_much_stops_a_run(code, sql, reads):
    name = DECLARED["features"][0]
    nodes = RUN["nodes"] | {f"model.life_stage.{name}": feature_node(name, sql, reads)}
    (message,) = messages(nodes=nodes)
    assert message.startswith(f"{code} models/life_stage/features/{name}.sql ")


@pytest.mark.parametrize(
    ("beginning", "changes"),
    [
        ("LS-VAR-002 var source_schema", {"source_schema": "main"}),  # erasing users would empty the source
        ("LS-VAR-002 var source_schema", {"source_schema": "shop; drop table x"}),
        ("LS-VAR-002 var business_timezone", {"business_timezone": "Mars/Olympus"}),
        ("LS-VAR-002 var run_clock", {"run_clock": "yesterday"}),
        ("LS-VAR-002 var consents_purpose", {"consents_purpose": None}),  # a group replaced in part
        ("LS-VAR-002 var through_month", {"through_month": "2017-04"}),  # in the future
        ("LS-VAR-002 var training_min_users", {"training_min_users": "1 or 1=1"}),
        ("LS-VAR-002 var training_min_users", {"training_min_users": True}),
        ("LS-VAR-002 var training_share", {"training_share": float("nan")}),
        ("LS-VAR-002 var retention_features_months", {"retention_features_months": 12}),
        ("LS-VAR-002 var checkout_deep", {"checkout_deep": "yes"}),
        ("LS-VAR-002 var features", {"features": ["feature_sizes", "feature_sizes"]}),
        ("LS-VAR-002 var experiments", {"experiments": "a"}),
        ("LS-FEA-001 models/life_stage/features/feature_activity.sql", {"features": DECLARED["features"][:-1]}),
        ("LS-VAR-003 var age_bin_edges", {"age_bin_edges": []}),
        ("LS-VAR-003 var age_bin_edges", {"age_bin_edges": [-34, 0, 84, 12, 110]}),
        ("LS-VAR-003 stage", {"stages": [PREGNANCY, NEWBORN | {"to_month": 5}, *OLDER]}),  # a gap
        ("LS-VAR-003 stage", {"stages": [PREGNANCY, NEWBORN | {"name": "newborn, 1 as x"}, *OLDER]}),
        ("LS-VAR-003 stage", {"stages": [PREGNANCY, NEWBORN | {"name": "aged_out"}, *OLDER]}),
        ("LS-VAR-003 stage", {"stages": [PREGNANCY, "newborn", *OLDER]}),
        ("LS-VAR-003 stage", {"infer_pregnancy": False, "stages": [PREGNANCY | {"to_month": 6}, *OLDER]}),
        ("LS-VAR-003 var stages", {"stages": [PREGNANCY, NEWBORN | {"name": "baby"}, *OLDER]}),  # other columns
        ("LS-VAR-004 experiment", {"experiments": [TRIAL | {"name": "x' or 1 = 1 --"}]}),
        ("LS-VAR-004 experiment", {"experiments": [TRIAL | {"first_month": "2016-13"}]}),
        ("LS-VAR-004 experiment", {"experiments": [TRIAL | {"treated_share": 1.5}]}),
        ("LS-VAR-004 experiment", {"experiments": [TRIAL, TRIAL]}),
        ("LS-VAR-004 experiment", {"experiments": ["trial"]}),
    ],
)
def test_a_wrong_value_has_a_message(beginning, changes):
    found = messages(changes)
    assert found and all(message.startswith(beginning) for message in found), found


def test_a_clock_that_no_calendar_has_is_wrong():
    with pytest.raises(ValueError):
        datetime.fromisoformat("2017-02-30 00:00:00")
    (message,) = messages({"run_clock": "2017-02-30 00:00:00"}, clock="2017-02-30 00:00:00")
    assert message.startswith("LS-VAR-002 var run_clock")


def test_a_clock_in_the_future_is_wrong():
    (message,) = messages({"run_clock": "2999-01-01 00:00:00"}, clock="2999-01-01 00:00:00")
    assert message.startswith("LS-VAR-002 var run_clock") and "future" in message


def test_all_wrong_values_are_named():
    wrong = {"through_month": "2017-13", "training_share": 1.5, "training_fine_tuning": "yes"}
    found = messages(wrong, given=["training_min_user", *wrong])
    assert [message.split(":")[0] for message in found] == [
        "LS-VAR-001 unknown var training_min_user",
        *(f"LS-VAR-002 var {name} is '{value}'" for name, value in wrong.items()),
    ]


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_is_answered_by_the_new_one(old, new):
    assert messages(given=[old]) == [f"LS-VAR-001 unknown var {old}: it is called {new} since version 0.2"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"backfill_from": "2016-12"}, "backfill_from"),
        ({"evaluation_from": "2016-06"}, "evaluation_from"),
        ({"experiments": [TRIAL]}, "experiments"),
    ],
)
def test_a_var_that_needs_a_dropped_month_is_wrong(changes, name):
    kept = {"first_actions_month": "2017-01-01", "first_features_month": "2016-07-01"}
    (message,) = messages(changes, **kept)
    assert message.startswith(f"LS-VAR-005 var {name} needs ")
    assert messages(changes) == []


def test_vars_of_the_command_line_are_yaml_and_all_named_ones_reach_dbt():
    given = [
        "checkout_months=0",
        "run_clock=2017-03-02 03:00:00",
        "experiments=[]",
        "fusion_merge=product",
        "training_fine_tuning=false",
    ]
    option, text = vars_option(given)
    values = {"checkout_months": 0, "run_clock": "2017-03-02 03:00:00", "experiments": [], "fusion_merge": "product"}
    assert option == "--vars" and json.loads(text) == values | {"training_fine_tuning": False}
    assert vars_option([]) == []
    with pytest.raises(SystemExit, match="LS-VAR-007 --var checkout_months has no value"):
        vars_option(["checkout_months"])
