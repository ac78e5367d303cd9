"""Operations killed between SQL statements and file operations: repeated, they end as without a kill."""

import json

import pytest
from kill_runner import run
from project import SMALL, UNLOGGED, Shop
from reliability import observe
from test_erasure import CONSENTS, holding, published_rows
from test_kills import assert_equal, published, put, tables

AS_OF_VERSION_4 = [
    "update project_state set key = 'state', value = '4' where key = 'state_version'",
    "insert into build_log (model, month, input_hash) select key, date '1970-01-01', value from project_state",
    "drop table project_state",
    "drop table household_weights",
    "alter table birth_month_filter drop column no_child_log_ratio",
]


def operate(shop: Shop, operation: str, kill_at: int | None = None, watch: str = "operation", **arguments) -> list:
    """Run an operation, to its end or to a boundary; returns the boundaries."""
    variables = SMALL | {"retention_actions_months": 1}  # of 2017-02: January is the first month to keep
    call = json.dumps({"operation": operation, "arguments": arguments})
    words = ("run-operation", "operate", "--args", call, "--vars", json.dumps(variables))
    return run(shop, *words, *UNLOGGED, watch=watch, kill_at=kill_at)


def outcome(shop: Shop) -> dict:
    """Every table and published file, without what differs from run to run."""
    unlike = ["erased_at", "user_digest", "salt"]
    return {n: rows.drop(columns=unlike, errors="ignore") for n, rows in (tables(shop) | published(shop)).items()}


@pytest.mark.fault(
    "Kills", "kill -9 at SQL statements and file operations of an operation", "repeated, it ends as without a kill"
)
@pytest.mark.slow
@pytest.mark.parametrize(
    "operation",
    [
        "rebuild_posteriors",
        "migrate",
        "drop_old_months",
        "erase",
        "erase_without_consent",
    ],
)
def test_an_operation_killed_at_any_boundary_is_finished_by_the_next(shop, operation):
    """Boundaries with the same files on disk are equivalent. Of the states every twentieth and the last are tested."""
    ((user,),) = shop.query("select min(user_id) from user_stages where user_id in (select user_id from stg_children)")
    if operation == "migrate":
        shop.change(*AS_OF_VERSION_4)
    if operation == "erase_without_consent":
        shop.write("consents.parquet", f"{CONSENTS.format(source=shop.source)} where user_id::varchar <> '{user}'")
    arguments = {"users": [user]} if operation == "erase" else {}
    before, kept = outcome(shop), shop.folder / "kept"
    put(shop.folder, kept)
    boundaries = operate(shop, operation, **arguments)
    wanted = outcome(shop)
    if operation.startswith("erase"):
        assert holding(shop, user) == {} and set(published_rows(shop, user).values()) == {0}
    with pytest.raises(AssertionError):
        assert_equal(wanted, before)
    states = list({boundary["on_disk"]: boundary["number"] for boundary in boundaries}.values())
    tested = {*states[::20], states[-1]}
    for number in tested:
        put(kept, shop.folder)
        operate(shop, operation, kill_at=number, **arguments)
        operate(shop, operation, watch="", **arguments)
        assert_equal(outcome(shop), wanted)
    assert len(boundaries) > 3
    observe(f"{len(tested)} of {len(states)} distinct disk states at {len(boundaries)} kill points")
