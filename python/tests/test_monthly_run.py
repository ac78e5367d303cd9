"""The monthly job `life-stage run`: exit codes, run summary, console, failed runs in model_runs."""

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from project import OPTIONS, PATHS, PROJECT, SMALL, Shop, copy_shop, made_once

from life_stage.commands import monthly_run, run_summary
from life_stage.commands.doctor import holder_of

OPERATING = (PROJECT / "docs/operating.md").read_text(encoding="utf-8")
FIELDS = re.findall(r"^\| `(\w+)` \|", OPERATING.partition("### Run summary")[2].partition("\n## ")[0], flags=re.M)
JOB = ("-m", "life_stage.commands.command_line", "run")
LATE = "select * replace (action_id || '-late' as action_id) from '{}/actions/month=2016-11/*.parquet' limit 9"
WRONG = LATE.replace("limit 9", "limit 500").replace("as action_id", "as action_id, 'zoe' as action")
HOLDER = """
import sys, time
from pathlib import Path
from life_stage.engine.warehouse_lock import take_lock
take_lock(Path(sys.argv[1]))
print("taken", flush=True)
time.sleep(600)
"""


def started(shop: Shop, *words: str) -> subprocess.Popen:
    """A Python process in the shop's folder."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("LIFE_STAGE_", "DBT_"))}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *words], cwd=shop.folder, env=outside | PATHS, **pipes)


def summary_of(shop: Shop) -> dict:
    """The summary of the last run."""
    return json.loads((shop.folder / "published.run.json").read_text())


def runs(shop: Shop) -> list[tuple]:
    """Status and error code of all runs, oldest first."""
    return shop.query("select status, error_code from model_runs order by started_at")


@pytest.fixture(scope="module")
def ran(base, tmp_path_factory):
    """A shop in which the job has run once, without data tests, and what it printed: copy it, never change it."""

    def make(folder: Path) -> None:
        shop = copy_shop(base, folder)
        finished = shop.job("test", always=True, LIFE_STAGE_NOTIFY="sh -c 'cp \"$0\" notified.json'")
        assert finished.exit_code == 0, finished.output
        (folder / "output.txt").write_text(finished.output)

    return Shop(made_once(tmp_path_factory, "ran", make))


@pytest.fixture
def shop(ran, tmp_path):
    """A copy of the shop in which the job has run."""
    return copy_shop(ran, tmp_path / "shop")


def test_a_run_that_succeeds_describes_itself(ran):
    summary, output = json.loads((ran.folder / "notified.json").read_text()), (ran.folder / "output.txt").read_text()
    assert (summary["status"], summary["exit_code"], summary["errors"]) == ("succeeded", 0, [])
    assert list(summary) == FIELDS, "docs/operating.md describes every field"
    newest = "select run_id, strftime(through_month, '%Y-%m'), n_users from model_runs order by started_at desc limit 1"
    assert [(summary["run_id"], summary["through_month"], summary["counts"]["users"])] == ran.query(newest)
    assert summary["published_set"] == ran.published_set()
    phases = re.findall(r"^(\w+) +.*% of all nodes after", output, flags=re.M)
    assert {"start", "staging", "features", "training", "filtering", "marts", "published"} <= set(phases)
    assert len(phases) == len(set(phases)) and {*phases, "report"} == summary["seconds_by_phase"].keys()
    assert sum(summary["seconds_by_phase"].values()) <= summary["seconds"]
    assert "remain" not in output and "START" not in output, "no last run, and no line of dbt's log"
    assert output.strip().splitlines()[-1].startswith("Report ")
    assert "START" in (ran.folder / "logs" / "dbt.log").read_text()


def test_with_nothing_new_the_job_ends_at_once_with_a_line(ran):
    """Without dbt and the engine, which take seconds to load."""
    before = json.loads((ran.folder / "notified.json").read_text())
    script = "import sys\nfrom life_stage.commands.command_line import main\ntry: main(sys.argv[1:])\n"
    script += "finally: print({'dbt', 'duckdb', 'pandas', 'pyarrow'} & sys.modules.keys())"
    with started(ran, "-c", script, "run", "--", *OPTIONS, "test") as process:
        output = process.stdout.read()
    assert process.returncode == 0, output
    line, loaded = output.splitlines()
    assert line.startswith("Nothing new since ") and loaded == "set()"
    summary = summary_of(ran)
    assert (summary["status"], summary["exit_code"], summary["published"]) == ("unchanged", 0, False)
    assert summary["last_success"] == before["last_success"] and summary["through_month"] == before["through_month"]


@pytest.mark.slow
def test_the_console_shows_the_remaining_time_and_with_verbose_dbt_s_log(shop):
    finished = shop.job(VERBOSE="1")
    assert finished.exit_code == 0, finished.output
    assert re.search(r"^staging +\d+ of \d+ nodes in .*, about \d+ s remain$", finished.output, flags=re.M)
    assert re.search(r"^\d\d:\d\d:\d\d +\d+ of \d+ START sql table model main.age_bins", finished.output, flags=re.M)


@pytest.mark.slow
@pytest.mark.fault("Settings", "monthly job with an invalid setting", "exit code 2, no row in `model_runs`, no change")
def test_a_run_that_cannot_start_ends_with_2(shop):
    before, runs_before = shop.contents(), runs(shop)
    finished = shop.job("--vars", json.dumps(SMALL | {"marts_min_probability": 7}))
    summary = summary_of(shop)
    assert finished.exit_code == summary["exit_code"] == 2 and summary["status"] == "not_started"
    assert [error["code"] for error in summary["errors"]] == ["LS-VAR-002"]
    remedy = "it must be a number from 0.05 to 0.95"
    assert summary["next_action"] == remedy and f"\nNext        {remedy}\n" in finished.output
    assert f"\nPublished   the set of {summary['published_at']} stands\n" in finished.output
    assert summary["last_success"]["run_id"] and (shop.contents(), runs(shop)) == (before, runs_before)
    assert "newest run not started: LS-VAR-002 " in (shop.folder / "published.html").read_text()


def test_a_first_run_says_at_once_that_it_has_too_few_registered_children(bare_shop):
    bare_shop.write("children.parquet", f"from '{bare_shop.source}/children.parquet' limit 20")
    finished = bare_shop.job()
    assert finished.exit_code == 2 and "LS-SRC-001" in finished.output
    assert re.match(r"LS-ML-001 +no model will be trained: \d+ users have one registered child", finished.output)


def test_words_that_dbt_does_not_know_end_with_2_and_are_shown(shop):
    finished = shop.job("--bogus")
    assert finished.exit_code == 2 and "No such option '--bogus'" in finished.output
    assert [error["code"] for error in summary_of(shop)["errors"]] == ["LS-RUN-009"]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["", "Error: No such option '--bogus'"], "Error: No such option '--bogus'"),
        (["duckdb.ConversionException: Could not convert string 'user42'"], "duckdb.ConversionException"),
        ([], ""),
    ],
)
def test_a_crash_is_named_by_its_class_without_its_values(lines, text):
    assert monthly_run.last_words(lines) == text


def test_an_error_of_the_job_itself_ends_with_1_and_a_summary(shop, monkeypatch):
    monkeypatch.chdir(shop.folder)
    for name, value in PATHS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(monthly_run, "job", lambda *_: (_ for _ in ()).throw(OSError("no space left at user42")))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        assert monthly_run.main() == 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert [error["code"] for error in summary_of(shop)["errors"]] == ["LS-RUN-009"]
    assert "OSError" in summary_of(shop)["errors"][0]["message"] and "user42" not in json.dumps(summary_of(shop))


def test_a_held_lock_ends_with_2_and_names_its_holder(shop):
    with started(shop, "-c", HOLDER, "warehouse.duckdb") as holder:
        assert holder.stdout.readline() == "taken\n"
        finished = shop.job(always=True)
        holder.kill()
    assert finished.exit_code == 2 and f"in use by process {holder.pid}" in finished.output
    assert [error["code"] for error in summary_of(shop)["errors"]] == ["LS-RUN-001"]


@pytest.mark.slow
@pytest.mark.fault("Machine", "a data test fails", "exit code 1, a row in `model_runs`, published set kept")
def test_a_failed_data_test_ends_with_1_and_leaves_a_row(shop):
    """The next run counts the months that the failed one has built."""
    with duckdb.connect(shop.warehouse) as connection:
        connection.execute("create table kept as from age_bins; insert into age_bins from kept")
        connection.execute("delete from node_hashes where node = 'is_key_age_bins_age_bin'")
    before = shop.contents()
    shop.write("actions/month=2016-11/late.parquet", LATE.format(shop.source))
    finished = shop.job(LIFE_STAGE_NOTIFY="false")
    summary = summary_of(shop)
    assert finished.exit_code == summary["exit_code"] == 1 and summary["status"] == "failed", finished.output
    (error,) = summary["errors"]
    assert (error["code"], error["node"]) == ("LS-RUN-008", "is_key_age_bins_age_bin")
    assert not (shop.folder / "published.inputs").exists(), "the next run has something to do"
    assert finished.output.count("LS-RUN-008") == 1 and "LS-RUN-011 LIFE_STAGE_NOTIFY failed" in finished.output
    assert not summary["published"] and set(summary["counts"].values()) == {None}
    alarm = f"newest run failed: LS-RUN-008 {html.escape(error['message'])}"
    assert (shop.folder / "published.html").read_text().count(alarm) == 1
    row = "select status, error_code, error, n_rows_read from model_runs order by started_at desc limit 1"
    assert shop.query(row) == [("failed", "LS-RUN-008", error["message"], None)]
    after = shop.contents()
    assert [after[name] == before[name] for name in ("published", "model_runs", "user_stages")] == [True] * 3
    with duckdb.connect(shop.warehouse) as connection:
        connection.execute("delete from age_bins; insert into age_bins from kept; drop table kept")
    finished = shop.job()
    assert finished.exit_code == 0 and runs(shop)[-2:] == [("failed", "LS-RUN-008"), ("succeeded", None)]
    assert summary_of(shop)["counts"]["rows_read"] > 9, "those of the months that the failed run has staged"
    assert summary_of(shop)["published"] and "newest run failed" not in (shop.folder / "published.html").read_text()


@pytest.mark.slow
def test_a_run_that_fails_after_its_row_has_one_row(shop):
    """model_runs is built before the marts are published."""
    with duckdb.connect(shop.warehouse) as connection:
        connection.execute("insert into model_runs from model_runs limit 1")
        connection.execute("delete from node_hashes where node = 'is_key_model_runs_run_id'")
    n_runs = len(runs(shop))
    assert shop.job(always=True).exit_code == 1
    assert len(runs(shop)) == n_runs + 1 and runs(shop)[-1] == ("failed", "LS-RUN-008")


@pytest.mark.slow
def test_values_of_an_error_without_a_code_are_in_no_message(shop):
    model = shop.folder / "models/life_stage/marts/users.sql"
    model.write_text(model.read_text() + "\nwhere cast(concat(households.user_id, ' Zoe') as integer) > 0\n")
    finished = shop.job()
    assert finished.exit_code == 1 and "\nLS-RUN-009  users failed" in finished.output, finished.output
    shown = finished.output + (shop.folder / "published.run.json").read_text() + str(shop.query("from model_runs"))
    assert re.search(r"Could not convert string '\w+ Zoe'", (shop.folder / "logs" / "dbt.log").read_text())
    assert "Zoe" not in shown


@pytest.mark.fault("Machine", "first run fails at a delivery", "a row in `model_runs`; the next run succeeds")
@pytest.mark.slow
def test_a_first_run_that_fails_leaves_a_row_and_the_next_run_is_a_first_one(base, bare_shop):
    bare_shop.add_months(base, ["2016-11"])
    bare_shop.write("actions/month=2016-11/wrong.parquet", WRONG.format(bare_shop.source))
    failed = bare_shop.start()
    assert failed.exit_code == 1 and runs(bare_shop) == [("failed", "LS-SRC-007")]
    (bare_shop.source / "actions/month=2016-11/wrong.parquet").unlink()
    bare_shop.build()
    assert runs(bare_shop) == [("failed", "LS-SRC-007"), ("succeeded", None)]
    assert bare_shop.query("select n_months_read from model_runs where status = 'succeeded'") == [(1,)]


@pytest.mark.fault("Kills", "SIGTERM to the monthly job, kill -9 of its dbt", "exit code 1 with LS-RUN-007, no row")
@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGKILL, "SIGKILL")])
def test_a_run_that_a_signal_ends_says_so_and_leaves_no_dbt(shop, number, name):
    before = runs(shop)
    with started(shop, *JOB, "--always", "--", *OPTIONS) as job:
        assert any(line.startswith("LS-PRI-003") for line in job.stdout), "dbt is in its checks"
        (dbt,) = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        os.kill(job.pid if number == signal.SIGTERM else int(dbt), number)
        output = job.stdout.read()
    assert job.returncode == 1 and f"LS-RUN-007  the run was ended by {name}" in output
    assert summary_of(shop)["status"] == "failed" and runs(shop) == before
    assert not holder_of(shop.warehouse) and not Path(f"/proc/{dbt}").exists()


@pytest.mark.parametrize("command", ["no-such-command", "false", "sleep 9", "sh -c 'unclosed"])
def test_a_command_that_fails_is_reported(tmp_path, monkeypatch, command):
    monkeypatch.setenv("LIFE_STAGE_NOTIFY", command)
    monkeypatch.setattr(run_summary, "NOTIFY_SECONDS", 0.2)
    begun = time.monotonic()
    assert run_summary.notify(tmp_path / "published").startswith("LS-RUN-011 LIFE_STAGE_NOTIFY failed: ")
    assert time.monotonic() - begun < 5


def test_the_command_is_called_without_a_shell(tmp_path, monkeypatch):
    link = tmp_path / "it's published"
    run_summary.write({"status": "failed"}, link)
    for command in ("", "cp -t {0} ", "cp '--target-directory={0}' --"):
        (tmp_path / "to").mkdir(exist_ok=True)
        monkeypatch.setenv("LIFE_STAGE_NOTIFY", command.format(tmp_path / "to"))
        assert run_summary.notify(link) == ""
        assert len(list((tmp_path / "to").iterdir())) == bool(command)
        shutil.rmtree(tmp_path / "to")


def test_a_summary_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()
    assert run_summary.write({}, tmp_path / "file" / "published").startswith("LS-RUN-010 ")
    assert run_summary.read(tmp_path / "file" / "published") == {}
