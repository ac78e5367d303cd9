"""Rows in any order, duplicated, spread over files and late: the staged rows are the same."""

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from project import assert_same, copy_shop
from reliability import observe

COLUMNS = ["action_id", "user_id", "occurred_at", "action", "item_id", "search_term", "quantity", "session_id"]
ROWS = st.tuples(
    st.sampled_from(["1", "2", "3", "4.0", " 4", ""]),
    st.sampled_from(["anna", "ben", None]),
    st.sampled_from(
        ["2016-11-01", "2016-11-30 23:59:59", "2016-12-01", "2016-11-05T00:30:00+02:00", "no", "1970-01-01"]
    ),
    st.sampled_from(["click", "SEARCH", "buy", "dance"]),
    st.sampled_from(["7", "8", None]),
    st.sampled_from(["milk", None]),
    st.sampled_from(["1", "0", None]),
    st.sampled_from(["s", None]),
)
KEPT = [
    "select * exclude (source_file) from evaluated where reasons is null and not is_duplicate order by all",
    "select distinct * exclude (source_file) from evaluated where reasons is not null order by all",
]


@pytest.fixture(scope="module")
def staged(base):
    """A function from raw rows to the staged rows of 2016-11, by the SQL of the job."""
    compiled = base.folder / "target" / "compiled" / "life_stage" / "models" / "staging" / "stg_action_rows.sql"
    sql = compiled.read_text().replace("__month__", "2016-11-01").replace("__home_files__", "'a', 'b'")
    sql = sql.replace("__history_from__", "date '2000-01-01'")
    none = "select *, null::varchar as device, null::double as dwell_seconds, null::double as price"
    sql = sql.replace("__source_rows__", "select *, null as device, null as dwell_seconds, null as price from raw")
    sql = sql.replace("__months_before__", f"{none} from raw where false")
    with duckdb.connect(base.warehouse, read_only=True) as connection:

        def stage(rows: list[tuple], files: list[str]) -> list[list[tuple]]:
            text = pa.schema([(name, pa.string()) for name in [*COLUMNS, "source_file"]])
            records = [dict(zip(text.names, (*row, file), strict=True)) for row, file in zip(rows, files, strict=True)]
            connection.register("raw", pa.Table.from_pylist(records, schema=text))
            connection.execute(f"create or replace temp table evaluated as {sql}")
            return [connection.execute(query).fetchall() for query in KEPT]

        yield stage


@pytest.mark.fault(
    "Rows",
    "actions reordered, duplicated, spread over other files",
    "same valid and rejected rows",
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS, max_size=12), st.data())
def test_order_duplicates_and_files_change_nothing(staged, rows, data):
    again = data.draw(
        st.permutations([*rows, *data.draw(st.lists(st.sampled_from(rows or [()]), max_size=6 * bool(rows)))])
    )
    files = data.draw(st.lists(st.sampled_from("ab"), min_size=len(again), max_size=len(again)))
    assert staged(rows, ["a"] * len(rows)) == staged(again, files)


@pytest.mark.slow
@pytest.mark.fault(
    "Months and runs",
    "late, partial or duplicate actions over several runs",
    "posteriors of a single run",
)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_partial_and_late_rows_give_the_same_posteriors(base, new_shop, tmp_path_factory, data):
    """Each row of three months arrives in the first, the second or both of two runs, in randomly named files."""
    shop = copy_shop(new_shop, tmp_path_factory.mktemp("parts") / "shop")
    months = ["2016-07", "2016-08", "2016-09"]
    files = ", ".join(f"'{base.source}/actions/month={month}/*.parquet'" for month in months)
    seed = data.draw(st.integers(0, 10**6))
    # A month's last day arrives first, so that the first run has posteriors that the second must recompute.
    part = f"case when day(occurred_at) > 27 then 0 else hash(action_id, {seed}) % 3 end"
    for run in (1, 2):
        for name in data.draw(st.permutations(["x", "y", "z"])):
            chosen = f"hash(user_id, {seed}) % 3 = {'xyz'.index(name)} and {part} in (0, {run})"
            shop.write(
                f"actions/run {run} {name}.parquet",
                f"from read_parquet([{files}]) where {chosen} order by hash(action_id, {seed})",
            )
        shop.build(only="+birth_month_filter +dynamic_fusion")
    assert_same(
        shop,
        base,
        ["stage_log_likelihoods", "birth_month_filter", "dynamic_fusion"],
        where="month <= date '2016-09-01'",
    )
    observe("posteriors of a single run")
