"""Order of publication: after every test of the marts, in dbt's plan and in a run."""

import json

import pytest
from reliability import observe

PUBLISHING = "model.life_stage.published_marts"


def test_dbt_itself_waits_with_publishing_for_every_test(base):
    """dbt's own rules decide which models wait for a test of several tables; this checks the resulting plan."""
    graph = json.loads((base.folder / "target" / "graph_summary.json").read_text())["with_test_edges"]
    parents = {node["name"]: set() for node in graph.values()}
    for node in graph.values():
        for successor in node.get("succ", []):
            parents[graph[str(successor)]["name"]].add(node["name"])
    before, waiting = set(), [PUBLISHING]
    while waiting:
        new = parents[waiting.pop()] - before
        before |= new
        waiting.extend(new)
    manifest = json.loads((base.folder / "target" / "manifest.json").read_text())
    tests = {name: node for name, node in manifest["nodes"].items() if node["resource_type"] == "test"}
    assert len(tests) > 50
    too_late = [n for n, t in tests.items() if PUBLISHING not in t["depends_on"]["nodes"] and n not in before]
    assert too_late == []


def test_no_test_is_disabled_limited_or_only_a_warning(base):
    manifest = json.loads((base.folder / "target" / "manifest.json").read_text())
    assert [node for nodes in manifest["disabled"].values() for node in nodes if node["resource_type"] == "test"] == []
    strict = {"enabled": True, "severity": "ERROR", "error_if": "!= 0", "warn_if": "!= 0", "where": None, "limit": None}
    for name, node in manifest["nodes"].items():
        if node["resource_type"] == "test":
            assert {setting: node["config"][setting] for setting in strict} == strict, name


@pytest.mark.fault("State", "failing data test of the marts", "nothing published")
def test_a_failing_test_of_two_tables_stops_publishing(shop):
    """The test reads the first and the last of the marts, so no single upstream table would stop publication."""
    (shop.folder / "tests" / "this_never_holds.sql").write_text(
        "-- No stage is published.\nselect stages.stage from {{ ref('stages') }} as stages "
        "inner join {{ ref('user_stages') }} as published on stages.stage = published.stage"
    )
    lost = shop.published / "user_stages.parquet"
    lost.unlink()
    finished = shop.start(checked=True, only="user_stages published_marts this_never_holds")
    assert finished.exit_code != 0 and not lost.exists(), finished.output[-3000:]
    observe("deleted file not published")
    (shop.folder / "tests" / "this_never_holds.sql").unlink()
    shop.start(checked=True, only="user_stages published_marts")
    assert lost.exists()
    observe("published without that test")
