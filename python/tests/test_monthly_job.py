"""Monthly job: it builds new, missing and changed months only, with results independent of the order of runs."""

import collections
import json
import os
import shutil
import threading

import duckdb
import pytest
from project import POSTERIORS, assert_same, copy_shop

from life_stage.paths import read_manifest
from life_stage.publishing import content_hash, write_views

STATE = [
    *POSTERIORS,
    "birth_month_filter_cells",
    "dynamic_fusion_cells",
    "presence_filter_cells",
    "household_children_cells",
    "stage_coefficients",
    "month_model_assignments",
    "user_months",
    "user_month_features",
    "search_terms",
]
NEWEST = "month = (select max(month) from birth_month_filter_cells)"
# Empty, because eight months of 400 users are too few for the evaluation and interests, and without experiments.
TOO_FEW = (
    "evaluation_coefficients",
    "evaluation_predictions",
    "evaluation_user_scores",
    "stage_predictions",
    "stage_accuracy",
    "stage_recall",
    "stage_confusion",
    "stage_calibration",
    "gain_over_baseline",
    "household_precision_recall",
    "experiment_readout",
    "outlook_backtest",
    "stage_interests",
)
PER_RUN = ("model_runs", "build_log", "published_marts", "stage_events")
# Empty, because there are no erased or implausible users, consents, registrations without a time or requests, and too
# few baskets.
NOBODY = (
    "erased_users",
    "erased_action_hashes",
    "stg_consents",
    "stg_consents_by_purpose",
    "user_consents",
    "registration_sightings",
    "implausible_users",
    "monitor_latency",
    "answer_outcomes",
    "cart_complements",
    "item_substitutes",
)


def months_rebuilt(shop, model, before):
    """The months of a table that the last run built, given run_of_months from before it."""
    return sorted(month for month, run in shop.run_of_months(model).items() if before.get(month) != run)


def assert_same_history(left, right):
    assert_same(left, right, [*POSTERIORS, "user_stages"])
    assert_same(
        left,
        right,
        ["birth_month_filter_cells", "dynamic_fusion_cells", "presence_filter_cells", "household_children_cells"],
        where=NEWEST,
    )


def late_rows(shop, of_month, days):
    """A query for 100 valid actions of a month, moved by some days and with new ids."""
    return f"""
        select * replace ('late-' || action_id as action_id, occurred_at + interval {days} day as occurred_at)
        from '{shop.source}/actions/month={of_month}/*.parquet'
        where action = 'click' and item_id is not null and user_id is not null
        and day(occurred_at) < 28 and year(occurred_at) in (2016, 2017)
        order by action_id limit 100"""


@pytest.mark.fault("Months and runs", "first run, then month by month", "posteriors of a single run")
def test_a_history_built_month_by_month_equals_one_built_in_one_run(base, new_shop):
    for arriving in (
        ["2016-07", "2016-08", "2016-09", "2016-10"],
        ["2016-11"],
        ["2016-12", "2017-01", "2017-02"],
    ):
        new_shop.add_months(base, arriving)
        before = {
            model: new_shop.run_of_months(model) if arriving[0] > "2016-07" else {}
            for model in [*POSTERIORS, "user_months"]
        }
        new_shop.build(only="+stage_events +model_runs")
        for model in before:
            assert months_rebuilt(new_shop, model, before[model]) == arriving, model
    assert new_shop.query("select n_months_updated from model_runs order by started_at") == [
        (4,),
        (1,),
        (3,),
    ]
    assert_same_history(new_shop, base)
    of_the_run = ("run_id", "logged_at", "event_no")
    assert_same(new_shop, base, ["stage_events"], where="month <= date '2016-11-01'", ignore=of_the_run)


@pytest.mark.fault(
    "Months and runs",
    "missing month that arrives later",
    "counted in `model_runs.n_months_missing`, added on arrival",
)
@pytest.mark.slow
def test_a_late_month_is_reported_missing_and_added_on_arrival(base, new_shop):
    new_shop.add_months(base, ["2016-07", "2016-08", "2016-10", "2016-11", "2016-12"])
    new_shop.build()
    september = "select status, is_closed, n_actions from month_calendar where month = date '2016-09-01'"
    assert new_shop.query(september) == [("missing", True, 0)]
    assert new_shop.query("select n_months_missing, n_months_updated from model_runs") == [(1, 6)]
    before = new_shop.run_of_months("birth_month_filter")

    new_shop.add_months(base, ["2016-09"])
    new_shop.build()
    assert new_shop.query(september)[0][:2] == ("present", True)
    assert months_rebuilt(new_shop, "birth_month_filter", before) == ["2016-09", "2016-10", "2016-11", "2016-12"]
    assert_same(new_shop, base, POSTERIORS, where="month <= date '2016-12-01'")
    assert_same(new_shop, base, ["birth_month_filter_cells"], where="month = date '2016-12-01'")


def test_a_new_month_reads_no_file_but_its_own(base, new_shop):
    """Older files are unreadable: zeros with unchanged size and time."""

    def deliver(month):
        rows = f"from '{base.source}/actions/month={month}/*.parquet' where strftime(occurred_at, '%Y-%m') = '{month}'"
        new_shop.write(f"actions/month={month}/part.parquet", rows)

    for month in ("2016-12", "2017-01"):
        deliver(month)
    new_shop.build(only=f"+{POSTERIORS[0]}")
    for file in new_shop.source.glob("actions/*/*.parquet"):
        known = file.stat()
        file.write_bytes(bytes(known.st_size))
        os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns))
    deliver("2017-02")
    new_shop.build(only=f"+{POSTERIORS[0]}")
    assert new_shop.run_of_months(POSTERIORS[0]).keys() == {"2016-12", "2017-01", "2017-02"}


@pytest.mark.slow
@pytest.mark.fault("Months and runs", "second run without new data", "one row in `model_runs`, no other change")
def test_a_run_without_new_data_changes_only_the_run_log(base, shop):
    write_views(shop.published.resolve(), read_manifest(shop.published))  # the shop is a copy in another folder
    before = shop.contents()
    shop.build(evaluated=True)
    after = shop.contents()
    assert before.keys() == after.keys()
    assert {name for name in before if name in STATE and before[name] != after[name]} == set()
    assert before["published"] == after["published"]
    facts = "from project_state where key not like 'source_%path' order by key"
    assert shop.query(facts) == base.query(facts)
    unlike = {
        "project_state",
        *PER_RUN,
        *TOO_FEW,
        *NOBODY,
        *(name for name in base.tables() if name.startswith("checkout_")),
    }
    assert_same(shop, base, [name for name in base.tables() if name not in unlike], ignore=())
    assert [shop.query(f"select count(*) from {name}") for name in TOO_FEW] == [[(0,)]] * len(TOO_FEW)
    assert_same(shop, base, ["build_log"], ignore=())
    assert [count for (count,) in shop.query("select count(*) from model_runs")] == [2]
    assert all(1 < seconds < 600 for (seconds,) in shop.query("select seconds from model_runs"))
    assert shop.query("select n_months_read, n_months_updated from model_runs order by started_at")[1] == (
        0,
        0,
    )


@pytest.mark.fault("Months and runs", "touched file, same content", "read again, posteriors unchanged")
@pytest.mark.slow
def test_a_touched_file_is_read_again_and_changes_no_posterior(base, shop):
    file = shop.source / "actions" / "month=2016-10" / "part-0000.parquet"
    os.utime(file, (1, 1))
    before = {model: shop.run_of_months(model) for model in ("stg_action_rows", "action_months")}
    shop.build()
    # Invalid times assign a file to other months too; those are staged again with it.
    assert "2016-10" in months_rebuilt(shop, "stg_action_rows", before["stg_action_rows"])
    assert_same(shop, base, [*STATE, "month_calendar"], ignore=())
    assert shop.published_set() == base.published_set()


@pytest.mark.fault("Months and runs", "late actions", "that month and later posteriors recomputed")
@pytest.mark.slow
def test_late_rows_recompute_the_posteriors_from_their_month_on(base, shop, new_shop):
    for folder, of_month, days, rebuilt in (
        ("2017-02", "2016-12", 31, ["2017-01", "2017-02"]),
        ("2016-12", "2016-09", 30, ["2016-10", "2016-11", "2016-12", "2017-01", "2017-02"]),
    ):
        before = {model: shop.run_of_months(model) for model in POSTERIORS}
        shop.write(f"actions/month={folder}/late.csv", late_rows(base, of_month, days))
        shop.build()
        for model in ("stage_log_likelihoods", "stage_scores"):
            assert months_rebuilt(shop, model, before[model]) == rebuilt[:1], model
        assert months_rebuilt(shop, "birth_month_filter", before["birth_month_filter"]) == rebuilt
    assert_same(shop, base, POSTERIORS, where="month < date '2016-10-01'", ignore=())

    shutil.copytree(shop.source / "actions", new_shop.source / "actions")
    new_shop.build()
    assert_same_history(shop, new_shop)


@pytest.mark.slow
def test_a_changed_month_is_scored_again_and_so_is_the_same_month_of_the_next_year(base, new_shop):
    """Its log-likelihoods, which use the month alone, are not. The model was trained on the year before, too."""
    new_shop.change(
        """insert into stage_coefficients
        select * replace ('last_year:' || feature as feature, value / 2 as value) from stage_coefficients
        where model_name = 'memory_less' and feature <> ''"""
    )
    new_shop.add_months(base, ["2016-11"])
    a_year_before = "occurred_at - interval 11 month as occurred_at, action_id || ' before' as action_id"
    october = f"select * replace ({a_year_before}) from '{base.source}/actions/month=2016-10/*.parquet'"
    good = "occurred_at between '2016-10-01' and '2016-10-31' and action_id is not null"
    new_shop.write("actions/month=2015-11/first.parquet", f"{october} where {good} and occurred_at < '2016-10-15'")
    new_shop.write(
        "actions/month=2015-11/last_day.parquet", f"{october} where {good} order by occurred_at desc limit 9"
    )
    at_once = copy_shop(new_shop, new_shop.folder.with_name("at_once"))
    new_shop.build()
    scored = "select user_id from stage_scores where month = date '2016-11-01'"
    active = "select user_id from user_months where month in (date '2016-11-01', date '2015-11-01')"
    only_last_year = f"{scored} except select user_id from user_months where month = date '2016-11-01'"
    assert new_shop.query(f"({scored}) except ({active})") == [] == new_shop.query(f"({active}) except ({scored})")
    assert new_shop.query(f"select count(*) > 10 from ({only_last_year})") == [(True,)]
    # Models are trained on such a month, too.
    trained = """select distinct is_active, feature like 'last_year:%' from training_features
        inner join training_rows using (row_no) where month = date '2016-11-01' and feature like '%leaf=%'"""
    assert sorted(new_shop.query(trained)) == [(False, True), (True, False), (True, True)]

    before = {model: new_shop.run_of_months(model) for model in POSTERIORS}
    late = f"{october} where {good} and occurred_at >= '2016-10-15'"
    for shop in (new_shop, at_once):
        shop.write("actions/month=2015-11/late.parquet", late)
    new_shop.build()
    assert months_rebuilt(new_shop, "stage_scores", before["stage_scores"]) == ["2015-11", "2016-11"]
    assert months_rebuilt(new_shop, "stage_log_likelihoods", before["stage_log_likelihoods"]) == ["2015-11"]
    at_once.build()
    assert_same(new_shop, at_once, POSTERIORS)


@pytest.mark.fault("Months and runs", "month removed from the source", "month kept, status `archived`")
@pytest.mark.slow
def test_a_month_removed_from_the_source_is_archived(base, shop):
    shutil.rmtree(shop.source / "actions" / "month=2016-08")
    shop.build()
    calendar = "select month, n_rows, n_actions, content_hash, is_closed from month_calendar order by month"
    assert shop.query("select strftime(month, '%Y-%m') from month_calendar where status = 'archived'") == [("2016-08",)]
    assert shop.query(calendar) == base.query(calendar)
    assert_same(shop, base, [*STATE, "user_stages"], ignore=())
    assert shop.published_set() == base.published_set()


@pytest.mark.slow
def test_an_archived_month_is_kept_when_the_next_folder_holds_a_few_of_its_rows(base, shop):
    september = "actions/month=2016-09/part-0000.parquet"
    own_rows = f"select * replace (cast(action_id as varchar) as action_id) from '{base.source}/{september}'"
    shop.write(september, f"{own_rows} union all by name ({late_rows(base, '2016-07', 31)})")
    shop.build()
    with_late_rows = copy_shop(shop, shop.folder.with_name("before"))
    shutil.rmtree(shop.source / "actions" / "month=2016-08")
    shop.build()
    assert_same(shop, with_late_rows, POSTERIORS, ignore=())


@pytest.mark.fault("Months and runs", "month not closed", "staged, no posterior until closed and complete")
@pytest.mark.slow
def test_a_month_gets_posteriors_once_it_is_over_and_complete(base, new_shop):
    def months_updated(shop):
        return [
            month
            for (month,) in shop.query("select distinct strftime(month, '%Y-%m') from birth_month_filter order by 1")
        ]

    august = f"from '{base.source}/actions/month=2016-08/*.parquet'"
    is_last_day = "occurred_at is not null and occurred_at >= '2016-08-31' and year(occurred_at) = 2016"
    new_shop.add_months(base, ["2016-07"])
    new_shop.write("actions/month=2016-08/most.parquet", f"{august} where not ({is_last_day})")
    on_last_day = copy_shop(new_shop, new_shop.folder.with_name("on_last_day"))
    new_shop.build()
    assert months_updated(new_shop) == ["2016-07"]
    assert new_shop.query("select is_closed from month_calendar order by month") == [(True,), (False,)]
    declared = copy_shop(new_shop, new_shop.folder.with_name("declared"))

    declared.build(through_month="2016-08")
    assert months_updated(declared) == ["2016-07", "2016-08"]

    # On the last day of the month: actions after the clock are rejected until the month is over.
    on_last_day.write("actions/month=2016-08/last_day.parquet", f"{august} where {is_last_day}")
    on_last_day.build(run_clock="2016-08-31 12:00:00", rejections_max_share=1)
    assert months_updated(on_last_day) == ["2016-07"]
    assert on_last_day.query(
        "select count(*) > 0 from stg_rejected_actions where reason = 'time_in_future' and raw_occurred_at < '2017'"
    ) == [(True,)]
    on_last_day.build()
    assert months_updated(on_last_day) == ["2016-07", "2016-08"]
    assert_same(on_last_day, base, POSTERIORS, where="month <= date '2016-08-01'")


@pytest.mark.fault("Training", "first run with too few registered children", "LS-ML-001, published set unchanged")
@pytest.mark.slow
def test_without_registered_children_the_run_succeeds_and_logs_the_missing_users(base, bare_shop):
    bare_shop.add_months(base, ["2016-07"])
    children = f"from '{base.source}/children.parquet'"
    bare_shop.write("children.parquet", f"{children} order by user_id limit 20")
    output = bare_shop.build().output
    trains = "split = 'train' and is_active"
    ((n_users,),) = bare_shop.query(f"select count(distinct user_id) from training_rows where {trains}")
    assert 0 < n_users <= 20
    assert f"LS-ML-001 no model was trained: {n_users} training users" in output
    assert f"{60 - n_users} are missing" in output
    assert not bare_shop.published.exists()

    for name in ("published", "published.sets"):
        copy = shutil.copytree if name.endswith("sets") else shutil.copy
        copy(
            base.folder / name,
            bare_shop.folder / name,
            **({} if name.endswith("sets") else {"follow_symlinks": False}),
        )
    assert bare_shop.operate("rebuild-ledger").exit_code == 0  # the set is another warehouse's
    bare_shop.write("children.parquet", f"{children} limit 0")
    assert "LS-ML-001 no model was trained: 0 training users" in bare_shop.build().output
    for table in ("stage_coefficients", "stage_log_likelihoods", "stage_scores", "birth_month_filter", "user_stages"):
        assert bare_shop.query(f"select count(*) from {table}") == [(0,)], table
    for table in ("month_calendar", "user_month_features", "stg_rejected_actions"):
        assert bare_shop.query(f"select count(*) > 0 from {table}") == [(True,)], table
    of_base = {
        file.relative_to(base.folder): file.read_bytes() for file in base.folder.glob("published.sets/**/*.parquet")
    }
    assert len(of_base) > 10 and bare_shop.published_set() == base.published_set()
    assert all((bare_shop.folder / name).read_bytes() == content for name, content in of_base.items())


@pytest.mark.fault("Training", "too few registered children, older model present", "older model stays in use")
@pytest.mark.slow
def test_without_registered_children_an_older_model_stays_in_use(base, new_shop):
    new_shop.add_months(base, ["2016-07"])
    new_shop.write("children.parquet", f"from '{base.source}/children.parquet' limit 0")
    new_shop.change("update stage_coefficients set trained_through = date '2016-06-01'")
    # A single month of behaviour alone makes no child more probable than one half.
    output = new_shop.build(training_every_months=1, marts_min_first_probability=0.3).output
    assert "LS-ML-001" not in output
    compared = [name for name in POSTERIORS if name != "household_children"]  # which depends on the threshold
    assert_same(new_shop, base, compared, where="month = date '2016-07-01'")
    assert new_shop.published.exists()


@pytest.mark.slow
def test_sixty_reads_of_every_mart_during_runs_that_publish_each_see_one_whole_set(shop):
    reads, sets, wrong, done = collections.Counter(), set(), [], threading.Event()

    def read():
        with duckdb.connect() as client:
            while not done.is_set():
                folder = shop.published.resolve()
                manifest = json.loads((folder / "manifest.json").read_text())
                for mart, contents in manifest["contents"].items():
                    if content_hash(client.read_parquet(str(folder / f"{mart}.parquet"))) != contents:
                        wrong.append((folder.name, mart))
                    reads[mart] += 1
                sets.add(folder.name)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for n in range(6):
            shop.build(fusion_method=("dynamic_fusion", "birth_month_filter")[n % 2])
    finally:
        done.set()
        reader.join()
    assert not wrong
    assert len(reads) >= 7 and min(reads.values()) >= 60, reads
    assert len(sets) >= 5, "the reader saw too few sets to prove anything"
