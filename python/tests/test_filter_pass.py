"""A pass over batches of users equals the SQL of its months, and survives kills."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from kill_runner import run
from project import SMALL, UNLOGGED, Shop, copy_shop
from reliability import observe
from test_posteriors_oracle import MONTHS, learned_rows, run_filter, synthetic_shop

FILTERS = ["birth_month_filter", "presence_filter", "dynamic_fusion"]


def without_passes(shop: Shop) -> Shop:
    """The shop with its recursive models run month by month."""
    for model in FILTERS:
        file = shop.folder / f"models/life_stage/filtering/{model}.sql"
        text, n_found = re.subn(r', "pass": "\w+"', "", file.read_text())
        assert n_found == 1, model
        file.write_text(text)
    return shop


def forget(shop: Shop, model: str) -> None:
    """Leave nothing of a recursive model, so that the next run computes all its months."""
    shop.change(
        f"delete from build_log where model like '{model}%'", f"drop table {model}", f"drop table {model}_cells"
    )


def columns(shop: Shop, table: str) -> list[str]:
    return [name for (name,) in shop.query(f"select column_name from (describe {table})")]


def is_sum(name: str) -> bool:
    """Whether a column of the state is a sum over months, and no result of a readout."""
    return name.startswith("c_") and not name.startswith("c_birth")


def assert_equal(left: Shop, right: Shop, model: str) -> None:
    """Assert equal tables: doubles to 1e-12, single precision to the last bit but one, sums and all else exactly."""
    sums = [] if model == "dynamic_fusion" else [name for name in columns(left, f"{model}_cells") if is_sum(name)]
    for table in (model, f"{model}_cells"):
        found, expected = (shop.frame(table).drop(columns="run_id", errors="ignore") for shop in (left, right))
        assert list(found.columns) == list(expected.columns) and len(found) > 0
        for name in found.columns:
            one, other = found[name], expected[name]
            if one.dtype == np.float32:
                np.testing.assert_array_max_ulp(one.to_numpy(), other.to_numpy(), maxulp=1)
            elif one.dtype == np.float64 and not (table.endswith("_cells") and name in sums):
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12, err_msg=name)
            else:
                pd.testing.assert_series_equal(one, other)
        types = [shop.query(f"select column_name, column_type from (describe {table})") for shop in (left, right)]
        assert types[0] == types[1]
    log = f"select month, input_hash from build_log where model like '{model}%' order by model, month"
    assert left.query(log) == right.query(log)


@pytest.fixture(scope="module")
def in_a_pass(base, tmp_path_factory):
    """Two models, the later one with a learned readout, over 27 months."""
    shop = synthetic_shop(base, tmp_path_factory.mktemp("passes") / "pass", learned_rows)
    run_filter(shop)
    return shop


@pytest.fixture(scope="module")
def by_months(in_a_pass, tmp_path_factory):
    """The same by the SQL of the months."""
    shop = without_passes(copy_shop(in_a_pass, tmp_path_factory.mktemp("passes") / "months"))
    forget(shop, "birth_month_filter")
    shop.build(only="birth_month_filter")
    return shop


@pytest.mark.slow
def test_a_pass_of_birth_month_filter_equals_the_sql_of_its_months(in_a_pass, by_months):
    assert_equal(in_a_pass, by_months, "birth_month_filter")
    assert in_a_pass.query("select distinct month from birth_month_filter_cells order by 1") == [
        (month,) for month in MONTHS if month.month == 12 or month == MONTHS[-1]
    ]


@pytest.mark.parametrize("model", FILTERS)
def test_a_pass_equals_the_sql_of_its_months(model, base, tmp_path):
    shop = without_passes(copy_shop(base, tmp_path / "months"))
    forget(shop, model)
    shop.build(only=model)
    assert_equal(base, shop, model)


@pytest.mark.parametrize(
    "table", ["birth_month_filter", "dynamic_fusion", "stage_log_likelihoods", "user_stage_months", "user_stages"]
)
def test_results_are_stored_with_six_decimals(table, base):
    described = f"select column_name from (describe {table}) where column_type = 'DOUBLE'"
    names = [name for (name,) in base.query(described)]
    more_digits = " or ".join(f"{name} <> round({name}, 6)" for name in names)
    assert len(names) > 5 and base.query(f"select count(*) from {table} where {more_digits}") == [(0,)]


@pytest.mark.slow
@pytest.mark.parametrize("corrected", ["2016-04-01", "2017-01-01"])
def test_a_pass_restarts_from_the_december_before_a_correction(in_a_pass, by_months, tmp_path, corrected):
    shops = [copy_shop(shop, tmp_path / name) for name, shop in (("pass", in_a_pass), ("months", by_months))]
    for shop in shops:
        shop.change(
            f"delete from stage_log_likelihoods where month = date '{corrected}' and user_id like '%1%'",
            f"update month_calendar set content_hash = 'corrected' where month = date '{corrected}'",
            # no sum of the months before any more, so that a pass from the first month would differ
            f"update birth_month_filter_cells set c_days = c_days + 1 where year(month) = {int(corrected[:4]) - 1}",
        )
        shop.build(only="birth_month_filter")
    assert_equal(*shops, "birth_month_filter")
    runs = shops[0].run_of_months("birth_month_filter")
    again = {month for month, run_id in runs.items() if run_id != in_a_pass.run_of_months("birth_month_filter")[month]}
    assert again == {f"{month:%Y-%m}" for month in MONTHS if f"{month}" >= corrected}
    later = f"month >= date '{corrected}'"
    assert not shops[0].frame("birth_month_filter", later).equals(in_a_pass.frame("birth_month_filter", later))


@pytest.mark.fault("State", "log-likelihood with NaN in a pass", "LS-STA-004, no month stored")
def test_a_pass_stops_before_posteriors_that_are_no_distribution(in_a_pass, tmp_path):
    shop = copy_shop(in_a_pass, tmp_path / "nan")
    shop.change(
        f"update stage_log_likelihoods set ll_2 = 'nan' where month = date '{MONTHS[20]}'",
        f"update month_calendar set content_hash = 'nan' where month = date '{MONTHS[20]}'",
    )
    before = [shop.frame(table) for table in (*TABLES, "build_log")]
    finished = shop.start(only="birth_month_filter")
    assert finished.exit_code != 0 and "LS-STA-004" in finished.output, finished.output[-3000:]
    for table, frame in zip(TABLES, before, strict=False):
        pd.testing.assert_frame_equal(shop.frame(table), frame, obj=table)
    pd.testing.assert_frame_equal(shop.frame("build_log"), before[-1])
    assert shop.query("select count(*) from birth_month_filter_pass") == [(0,)]
    observe("posteriors and state unchanged")


TABLES = ["birth_month_filter", "birth_month_filter_cells"]
BUILD = ("build", "--select", "birth_month_filter", "--exclude-resource-type", "test", "unit_test", "--threads", "1")
BUILD += ("--vars", json.dumps(SMALL), *UNLOGGED)
APPEND, GATHER = (rf'^insert into \S+"birth_month_filter_pass{part}" by name' for part in ("", "_rows"))


def numbers(boundaries: list[dict], pattern: str) -> list[int]:
    """The numbers of the boundaries before these statements."""
    steps = [(boundary["number"], boundary["next"].split("*/")[-1].strip()) for boundary in boundaries]
    return [number for number, step in steps if re.search(pattern, step)]


def killed_before(shop: Shop, pattern: str, occurrence: int) -> list[dict]:
    """Kill the next run before a statement; returns the boundaries of that run if it is not killed."""
    copy = copy_shop(shop, shop.folder.with_name("undisturbed"))
    boundaries = run(copy, *BUILD, watch="birth_month_filter")
    shutil.rmtree(copy.folder)
    run(shop, *BUILD, watch="birth_month_filter", kill_at=numbers(boundaries, pattern)[occurrence])
    return boundaries


@pytest.mark.fault(
    "Kills", "kill -9 in a pass over batches of users", "months stay whole, finished batches are not computed again"
)
@pytest.mark.slow
def test_a_killed_pass_goes_on_with_the_next_batch(in_a_pass, tmp_path):
    shop = copy_shop(in_a_pass, tmp_path / "shop")
    file = shop.folder / "macros" / "filter_pass.sql"
    file.write_text(file.read_text().replace("return(20000)", "return(15)"))
    shop.change(
        "update month_calendar set content_hash = 'again' where month > date '2016-01-01'",
        "update stage_log_likelihoods set days = days + 1 where month > date '2016-01-01'",
    )
    before = [shop.frame(table) for table in (*TABLES, "build_log")]

    def months_are_whole() -> None:
        for table, frame in zip(TABLES, before, strict=False):
            pd.testing.assert_frame_equal(shop.frame(table), frame, obj=table)
        pd.testing.assert_frame_equal(shop.frame("build_log"), before[-1])

    first = killed_before(shop, GATHER, 3)
    n_batches = len(numbers(first, APPEND))
    assert n_batches >= 3
    months_are_whole()
    assert shop.query("select count(distinct month) from birth_month_filter_pass_rows") == [(3,)]
    second = killed_before(shop, APPEND, 1)
    assert len(numbers(second, GATHER)) == len(numbers(first, GATHER)) - 3
    months_are_whole()
    assert shop.query("select count(distinct user_id) from birth_month_filter_pass") == [(15,)]
    third = killed_before(shop, r'^delete from \S+"birth_month_filter"\s+where', 5)
    assert len(numbers(third, GATHER)) == 0 and len(numbers(third, APPEND)) == n_batches - 1
    months_are_whole()
    last = run(shop, *BUILD, watch="birth_month_filter")
    assert numbers(last, f"{GATHER}|{APPEND}") == []
    assert not [name for name in shop.tables() if "_pass" in name]

    undisturbed = without_passes(copy_shop(in_a_pass, tmp_path / "months"))
    undisturbed.change(
        "update month_calendar set content_hash = 'again' where month > date '2016-01-01'",
        "update stage_log_likelihoods set days = days + 1 where month > date '2016-01-01'",
    )
    undisturbed.build(only="birth_month_filter")
    assert_equal(shop, undisturbed, "birth_month_filter")


@pytest.mark.slow
def test_a_pass_is_dropped_once_its_input_has_changed(in_a_pass, tmp_path):
    shop = copy_shop(in_a_pass, tmp_path / "shop")
    shop.change("update month_calendar set content_hash = 'one' where month = date '2016-03-01'")
    killed_before(shop, r'^delete from \S+"birth_month_filter"\s+where', 0)
    assert shop.query("select count(*) > 0 from birth_month_filter_pass") == [(True,)]
    shop.change("update month_calendar set content_hash = 'two' where month = date '2016-03-01'")
    again = run(copy_shop(shop, tmp_path / "again"), *BUILD, watch="birth_month_filter")
    assert len(numbers(again, APPEND)) == 1
    # and so it is if no pass is due any more
    shop.change("update month_calendar set content_hash = 'contents 2016-03-01' where month = date '2016-03-01'")
    run(shop, *BUILD)
    assert not [name for name in shop.tables() if "_pass" in name]
