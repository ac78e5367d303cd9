"""Dashboard for Superset, installed and imported by the recipe in docs/reading_marts.md and opened in a browser."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import duckdb
import pytest
import yaml
from project import PROJECT

from life_stage import paths, publishing

COUNTS = ("n_users", "share", "n_moved_in", "n_moved_out")
ASSETS = PROJECT / "dashboards" / "life_stages"
CHARTS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in ASSETS.glob("charts/*.yaml")}
DATASETS = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in ASSETS.glob("datasets/*.yaml")]
RECIPE = re.findall(
    r"^```sh\n(.*?)^```", (PROJECT / "docs" / "reading_marts.md").read_text(encoding="utf-8"), flags=re.M | re.S
)[0].splitlines()


def python_of_superset():
    """A Python that Superset supports: this one, or one on the path; None: there is none."""
    for python in (sys.executable, *map(shutil.which, ("python3.12", "python3.11"))):
        code = "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))"
        if python and subprocess.run([python, "-c", code], capture_output=True).returncode == 0:
            return python
    return None


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def opened(url, **given):
    """The answer to a GET request, or to a POST of what is given."""
    data = json.dumps(given).encode() if given else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read()


def wait_for(condition, seconds, process):
    """Wait until the condition holds; fail if it does not in time, or if the process ends."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.5)


def is_up(url):
    try:
        return opened(f"{url}/health") == b"OK"
    except OSError:
        return False


def recorded(folder, names):
    """{chart, or type of filter: its result}, as far as the browser has loaded the dashboard."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "recorded").glob("*.json")]
    forms = [record["query"]["form_data"] for record in records]
    return {
        names.get(form.get("slice_id"), form["viz_type"]): record for form, record in zip(forms, records, strict=True)
    }


def write_set_with_gaps(published, folder):
    """A copy of a published set with suppressed months, a stage that is suppressed in all months, and consents."""
    shutil.copytree(published.resolve(), folder)
    hidden = "stage = 'pregnancy' or (stage = 'infant' and month in ('2016-08-01', '2016-11-01', '2017-02-01'))"
    counts = ", ".join(f"case when not ({hidden}) then {name} end as {name}" for name in COUNTS)
    users = f"from '{folder}/users.parquet'"
    rewritten = {
        "stage_totals": f"select * replace ({counts}) from '{folder}/stage_totals.parquet'",
        "user_consents": f"select user_id, unnest(['email', 'app']) as purpose, now()::timestamp as granted_at {users}",
    }
    for mart, select in rewritten.items():  # a file may be a hard link to that of another set
        duckdb.execute(f"copy ({select}) to '{folder}/new' (format parquet)")
        (folder / "new").replace(folder / f"{mart}.parquet")
    publishing.write_views(folder, paths.read_manifest(folder))


@pytest.fixture(scope="module")
def folder(evaluated, tmp_path_factory):
    """A folder with the published set and the dashboard, in which the commands of the recipe have run."""
    python, browser = python_of_superset(), shutil.which("chromium") or shutil.which("google-chrome")
    if python is None or browser is None:
        pytest.skip(f"needs Python 3.11 or 3.12 and chromium or google-chrome: found {python} and {browser}")
    index = [sys.executable, "-m", "pip", "index", "versions", "apache-superset"]
    if subprocess.run(index, capture_output=True).returncode != 0:
        pytest.skip("the package index is not reachable")
    folder = tmp_path_factory.mktemp("dashboard")
    write_set_with_gaps(evaluated.published, folder / "published.sets" / "with_gaps")
    publishing.swap_link(folder / "published", folder / "published.sets" / "with_gaps")
    shutil.copytree(PROJECT / "dashboards", folder / "dashboards")
    (folder / "recorded").mkdir()
    setup = folder / "setup.sh"
    setup.write_text("\n".join(["set -e", *RECIPE[:-1], "env -0 > environment"]).replace("python3.12", python))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "SUPERSET_"))}
    environment |= {
        "HOME": str(folder),
        "PYTHONPATH": "",
        "FLASK_FAB_CREATE_ADMIN_PASSWORD": "for this test",
        "SUPERSET_CONFIG_PATH": str(Path(__file__).with_name("superset_config.py")),
        "RECORDED": str(folder / "recorded"),
    }
    ran = subprocess.run(["sh", setup], cwd=folder, env=environment, capture_output=True, text=True, timeout=1500)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-5000:]
    return folder


@pytest.fixture(scope="module")
def results(folder, evaluated):
    """{chart, or type of filter: its result}, of the dashboard in a browser.

    Then, after another publication, `newer` is the number of users by stage and month, `all_months` that of all months.
    """
    environment = dict(pair.split("=", 1) for pair in (folder / "environment").read_text().split("\0") if pair)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        ["sh", "-c", "exec " + RECIPE[-1].replace("8088", str(port))],
        cwd=folder,
        env=environment,
        stdout=(folder / "server.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        wait_for(lambda: is_up(url), 120, server)
        listed = json.loads(opened(f"{url}/api/v1/dashboard/life-stages/charts"))["result"]
        names = {chart["id"]: chart["slice_name"] for chart in listed}
        browser = [shutil.which("chromium") or shutil.which("google-chrome"), "--headless", "--no-sandbox"]
        browser += ["--disable-gpu", "--window-size=1400,4000", f"--user-data-dir={folder}/browser"]
        browser += ["--remote-debugging-port=0", f"{url}/superset/dashboard/life-stages/"]
        with (folder / "browser.log").open("w") as log:
            page = subprocess.Popen(browser, stdout=log, stderr=subprocess.STDOUT)
            try:
                wait_for(lambda: len(recorded(folder, names)) >= len(CHARTS) + 2, 180, page)
            finally:
                page.terminate()
                page.wait(30)
        found = recorded(folder, names)
        publishing.swap_link(folder / "published", evaluated.published.resolve())
        totals = found[CHARTS["users_by_stage_and_month"]["slice_name"]]["query"]
        newer = json.loads(opened(f"{url}/api/v1/chart/data", **totals))
        no_month = {"columns": [], "series_columns": [], "post_processing": [], "orderby": []}
        totals["queries"] = [totals["queries"][0] | no_month]
        all_months = json.loads(opened(f"{url}/api/v1/chart/data", **totals))
        publishing.swap_link(folder / "published", folder / "published.sets" / "with_gaps")
    finally:
        server.terminate()
        server.wait(30)
    more = {"newer": newer, "all_months": all_months}
    return found | {name: {"status": 200, "answer": answer} for name, answer in more.items()}


def rows_of(results, chart):
    return results[CHARTS[chart]["slice_name"] if chart in CHARTS else chart]["answer"]["result"][0]["data"]


def by_month_and_stage(rows, month):
    return {(row[month], stage): row[stage] for row in rows for stage in row.keys() - {month}}


def published(folder, sql):
    with duckdb.connect(folder / "published" / "life_stage.duckdb", read_only=True) as marts:
        return marts.execute(sql).fetchall()


@pytest.mark.slow
def test_every_chart_and_filter_of_the_dashboard_has_rows(results):
    others = {"filter_select", "filter_range", "newer", "all_months"}
    assert set(results) == {chart["slice_name"] for chart in CHARTS.values()} | others
    for name, record in results.items():
        assert record["status"] == 200, (name, record["answer"])
        for result in record["answer"]["result"]:
            assert result["error"] is None and result["rowcount"] > 0, (name, result["error"], result["query"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chart", "column"),
    [("users_by_stage_and_month", "n_users"), ("users_who_entered", "n_moved_in"), ("users_who_left", "n_moved_out")],
)
def test_suppressed_months_are_gaps(results, folder, chart, column):
    sql = f"select epoch_ms(month), concat(stage_no, ' ', stage), {column} from stage_totals"
    mart = {(month, stage): n for month, stage, n in published(folder, sql)}
    assert by_month_and_stage(rows_of(results, chart), "month") == mart
    assert None in mart.values() and 0 not in mart.values() and len(set(mart.values())) > 2


@pytest.mark.slow
def test_a_new_publication_is_shown_without_a_restart(results, evaluated):
    with duckdb.connect(evaluated.published / "life_stage.duckdb", read_only=True) as marts:
        rows = marts.execute(
            "select epoch_ms(month), concat(stage_no, ' ', stage), n_users from stage_totals"
        ).fetchall()
    shown = by_month_and_stage(rows_of(results, "newer"), "month")
    assert shown == {(month, stage): n for month, stage, n in rows}
    assert shown != by_month_and_stage(rows_of(results, "users_by_stage_and_month"), "month")


@pytest.mark.slow
def test_counts_of_several_months_have_no_sum(results):
    assert rows_of(results, "all_months") == [{"users": None}]


@pytest.mark.slow
def test_the_newest_counts_are_those_of_the_mart(results, folder):
    mart = published(
        folder,
        """
        select concat(now.stage_no, ' ', now.stage), now.n_users, now.n_users - before.n_users, now.share,
            now.n_moved_in, now.n_moved_out
        from stage_totals as now
        left join stage_totals as before
            on now.stage = before.stage and before.month = now.month - interval 1 month
        where now.month = (select max(month) from stage_totals)
        order by now.stage_no
        """,
    )
    columns = ("stage_label", "users", "change", "share_of_users", "entered", "left")
    assert [tuple(row[column] for column in columns) for row in rows_of(results, "users_by_stage")] == mart


@pytest.mark.slow
def test_the_list_has_the_children_above_the_threshold(results, folder):
    sql = "select user_id, child_no from stage_outlook where horizon = 1 and p_entering >= 0.7"
    rows = rows_of(results, "enters_next_month")
    assert sorted((row["user_id"], row["child_no"]) for row in rows) == sorted(published(folder, sql)) and rows
    assert {row["purposes"] for row in rows} == {"app, email"}


@pytest.mark.slow
def test_expected_entries_are_sums_of_probabilities(results, folder):
    sql = "select epoch_ms(stage_month), concat(stage_no, ' ', stage), sum(p_entering) from stage_outlook group by all"
    mart = {(month, stage): n for month, stage, n in published(folder, sql) if n > 0}
    shown = by_month_and_stage(rows_of(results, "expected_entering"), "stage_month")
    assert {key: n for key, n in shown.items() if n is not None} == pytest.approx(mart)


def test_charts_and_datasets_of_the_dashboard_belong_together():
    (board,) = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in ASSETS.glob("dashboards/*.yaml")]
    shown = [
        part["meta"]["uuid"] for part in board["position"].values() if part != "v2" and "uuid" in part.get("meta", {})
    ]
    assert sorted(shown) == sorted(chart["uuid"] for chart in CHARTS.values())
    assert {chart["dataset_uuid"] for chart in CHARTS.values()} == {dataset["uuid"] for dataset in DATASETS}


def test_the_exposure_of_the_dashboard_lists_the_marts_that_it_reads():
    exposures = yaml.safe_load((PROJECT / "models" / "exposures.yml").read_text(encoding="utf-8"))["exposures"]
    (listed,) = [exposure["depends_on"] for exposure in exposures if exposure["name"] == "life_stage_dashboard"]
    marts = {mart for dataset in DATASETS for mart in re.findall(r"\bmain\.(\w+)", rows_in(dataset))}
    assert {f"ref('{mart}')" for mart in marts | {"published_marts"}} == set(listed)


def rows_in(dataset):
    """The dataset as a subquery."""
    return f"({dataset['sql']})" if "sql" in dataset else f"main.{dataset['table_name']}"


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset["table_name"])
def test_every_column_and_metric_of_the_datasets_is_one_of_the_marts(base, dataset):
    columns = {c["column_name"]: (c.get("expression", c["column_name"]), c["type"]) for c in dataset["columns"]}
    selected = ", ".join(f"{expression} as {name}" for name, (expression, _) in columns.items())
    metrics = ", ".join(metric["expression"] for metric in dataset["metrics"])
    with duckdb.connect(base.published / "life_stage.duckdb", read_only=True) as marts:
        found = marts.sql(f"select {selected} from {rows_in(dataset)}")
        assert dict(zip(found.columns, map(str, found.types), strict=True)) == {
            c: type_ for c, (_, type_) in columns.items()
        }
        assert len(marts.sql(f"select {metrics} from {rows_in(dataset)}").fetchall()) == 1
