"""Simulator: reproducible runs, correct ground truth, invalid rows that change no other row."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from life_stage_demo.contract import InputError
from life_stage_demo.generate import generate, parse_arguments
from life_stage_demo.months import month_number
from life_stage_demo.parameters import Parameters
from life_stage_demo.simulation import USERS_PER_CHUNK, Run

RUN = Run(USERS_PER_CHUNK + 300, month_number("2016-09"), 3, 7, Parameters(), with_truth_actions=True)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(sql: str, folder: Path) -> list[tuple]:
    with duckdb.connect() as connection:
        for name, path in (
            ("actions", "actions/*/*.parquet"),
            ("items", "items.parquet"),
            ("children", "children.parquet"),
            ("true_children", "truth/children.parquet"),
            ("true_actions", "truth/actions/*/*.parquet"),
        ):
            if list(folder.glob(path)):
                source = f"select * from read_parquet('{folder / path}', hive_partitioning = true)"
                connection.execute(f"create view {name} as {source}")
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "source"
    generate(RUN, folder)
    return folder


def test_the_result_does_not_depend_on_the_number_of_jobs(demo, tmp_path):
    generate(RUN, tmp_path / "source", jobs=2)
    assert digests(tmp_path / "source") == digests(demo)


def test_another_seed_gives_other_actions(demo, tmp_path):
    generate(replace(RUN, seed=8, n_users=200, n_months=1), tmp_path / "source")
    generate(replace(RUN, n_users=200, n_months=1), tmp_path / "same")
    month = "actions/month=2016-09/part-0000.parquet"
    assert digests(tmp_path / "source")[month] != digests(tmp_path / "same")[month]
    items = [pq.read_table(tmp_path / name / "items.parquet") for name in ("source", "same")]
    assert not items[0]["brand"].equals(items[1]["brand"])
    assert items[0]["price"].equals(items[1]["price"]), "prices are not random"


def test_a_longer_run_leaves_the_common_months_as_they_are(demo, tmp_path):
    generate(replace(RUN, n_months=4), tmp_path / "source")
    longer, shorter = digests(tmp_path / "source"), digests(demo)
    common = [name for name in shorter if name.startswith(("actions/", "truth/actions/", "items"))]
    assert {name: longer[name] for name in common} == {name: shorter[name] for name in common}
    assert "actions/month=2016-12/part-0000.parquet" in longer


def test_without_dirt_every_other_row_stays_the_same(demo, tmp_path):
    generate(replace(RUN, parameters=replace(RUN.parameters, dirty_share=0.0)), tmp_path / "clean")
    clean, dirty = pq.read_table(tmp_path / "clean" / "actions"), pq.read_table(demo / "actions")
    added = dirty.num_rows - clean.num_rows
    assert 0.001 < added / clean.num_rows < 0.003
    difference = """select count(*) from ((select * from clean) except all (select * from dirty))"""
    assert duckdb.sql(difference).fetchall() == [(0,)]


def test_dirt_is_of_every_announced_kind(demo):
    found = rows(
        """select count(*) - count(distinct action_id), count(*) filter (action in ('share', 'unknown')),
        count(*) filter (user_id is null), count(*) filter (occurred_at is null),
        count(*) filter (year(occurred_at) = 1970), count(*) filter (year(occurred_at) = 2099),
        count(*) filter (action = 'search' and search_term is null),
        count(*) filter (action in ('click', 'purchase') and item_id is null),
        count(*) filter (quantity = 100000) from actions""",
        demo,
    )
    assert min(found[0]) > 0, found


def test_actions_obey_the_input_contract(demo):
    schema = pq.read_schema(demo / "actions" / "month=2016-11" / "part-0000.parquet")
    expected = "action_id user_id occurred_at action item_id search_term quantity session_id device dwell_seconds"
    assert schema.names == expected.split()
    assert str(schema.field("occurred_at").type) == "timestamp[us]"
    misplaced = """select count(*) from actions join true_actions using (action_id)
        where strftime(occurred_at, '%Y-%m') <> actions.month and year(occurred_at) between 2000 and 2050"""
    assert rows(misplaced, demo) == [(0,)]
    assert len(list((demo / "actions" / "month=2016-11").iterdir())) == 1
    assert rows("select count(*) from items where json_valid(properties) and title is not null", demo) == rows(
        "select count(distinct item_id) from items", demo
    )


def test_a_session_for_an_own_child_has_that_childs_age(demo):
    checked = rows(
        """select count(*), count(*) filter (target_age_months = datediff('month', birth_date, occurred_at))
        from true_actions join actions using (action_id)
        join true_children using (user_id, child_no)
        where target = 'child' and year(occurred_at) = 2016""",
        demo,
    )[0]
    assert checked[0] > 10_000 and checked[0] == checked[1]
    nobody = "select count(*) from true_actions where (target = 'household') <> (target_age_months is null)"
    assert rows(nobody, demo) == [(0,)]


def test_some_families_register_and_four_percent_wrongly(demo):
    families, registering, right = rows(
        """select count(distinct true_children.user_id), count(distinct children.user_id),
        avg(case when children.birth_date = true_children.birth_date then 1.0
            when children.birth_date is not null then 0.0 end)
        from true_children left join children using (user_id, child_no)
        where true_children.birth_date < date '2015-01-01'""",
        demo,
    )[0]
    assert 0.76 < registering / families < 0.84
    assert 0.94 < right < 0.98


def test_nobody_has_registered_after_the_last_month(demo):
    first, last = rows("select min(registered_at)::varchar, max(registered_at)::varchar from children", demo)[0]
    assert first < "2016-09-01"
    assert "2016-11-01" < last < "2016-12-01"


def test_parameters_are_written_beside_the_truth(demo):
    facts = json.loads((demo / "truth" / "parameters.json").read_text())
    assert (facts["users"], facts["seed"], facts["through"]) == (RUN.n_users, 7, "2016-11")
    assert facts["parameters"]["register_share"] == Parameters.register_share


def test_family_sizes_are_as_stated(demo):
    sizes = dict(
        rows("select n, count(*) from (select count(*) n from true_children group by user_id) group by n", demo)
    )
    shares = np.array([RUN.n_users - sum(sizes.values()), sizes[1], sizes[2], sizes[3]]) / RUN.n_users
    weights = np.array(Parameters.family_size_weights)
    families = (1 - Parameters.childless_share) * weights / weights.sum()
    assert np.abs(shares - [Parameters.childless_share, *families]).max() < 0.03


def test_start_and_through_name_the_same_months():
    through, _, _ = parse_arguments(["--out", "x", "--months", "24", "--through", "2017-02"])
    start, _, _ = parse_arguments(["--out", "x", "--months", "24", "--start", "2015-03"])
    assert through == start


@pytest.mark.parametrize("wrong", ["--through 2017-13", "--users 0", "--start 2016-01 --through 2017-01"])
def test_a_wrong_argument_is_one_clear_line(wrong):
    with pytest.raises(InputError, match="nothing was changed"):
        parse_arguments(["--out", "x", *wrong.split()])
