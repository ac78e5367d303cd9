"""A trial of a feature group: it counts as a run does, tells gain from noise, and refuses leaks and mistakes."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys

import duckdb
import numpy as np
import pandas as pd
import pytest
from project import PROJECT, copy_shop
from training_data import AGES, training_tables

from life_stage.commands.feature_scratch import COUNTING, NUMBERING, Scratch, TrialError
from life_stage.commands.try_feature import compared, rows_of, sampled
from life_stage.engine.feature_checks import FOLDER, groups_in, wrong_reads, wrong_text
from life_stage.engine.project_macros import project_settings
from life_stage.training.examples import examples_of
from life_stage.training.feature_trial import compare

ACTIONS = '"memory"."main"."stg_actions"'
ONE_VALUE = f"select user_id, month, 'n=x' as feature, {{value}} as value from {ACTIONS} group by user_id, month"


@pytest.fixture(scope="module")
def project_sql(evaluated):
    """The compiled SQL of the evaluated shop's models, on the database `memory`."""
    files = evaluated.folder.glob("target/compiled/**/*.sql")
    return {file.stem: file.read_text("utf-8").replace('"warehouse"."main"', '"memory"."main"') for file in files}


@contextlib.contextmanager
def scratch(evaluated, project_sql, group, sql=None):
    """The trial's database for a group, with its own compiled SQL or another."""
    chosen = {name: project_sql[name] for name in (*COUNTING, *NUMBERING)}
    with duckdb.connect() as connection:
        yield Scratch(connection, evaluated.warehouse, group, chosen | {group: sql or project_sql[group]})


def lines(evaluated, project_sql, sql) -> dict[str, str]:
    """The lines of a trial of this SQL by their first words."""
    with scratch(evaluated, project_sql, "feature_tried", sql) as source:
        return {line[:12].strip(): line[12:] for line in (*rows_of(source), *compared(source, project_settings()))}


@pytest.mark.parametrize("group", ["feature_brands", "feature_search_ages", "feature_activity"])
def test_a_trial_counts_what_a_run_counts(evaluated, project_sql, group):
    with scratch(evaluated, project_sql, group) as source:
        assert any(line.startswith("support") for line in (*rows_of(source), *compared(source, project_settings())))
        users = "user_id in (select user_id from rows) and month in (select month from rows)"
        own = "feature in (select distinct feature from user_month_features)"
        columns = "user_id, month, feature, n_days, value"
        stored = f"select {columns} from {source.production}.user_month_features where {users} and {own}"
        counted = f"select {columns} from user_month_features where {users}"
        assert source.row(f"select count(*) > 500 from ({counted})") == (True,)
        for one, other in ((stored, counted), (counted, stored)):
            assert source.row(f"select count(*) from ({one} except all {other})") == (0,)
        once = "select count(*) = count(distinct (row_no, feature)) from training_features"
        assert source.row(once) == (True,), "production is compared without the group"


def test_a_trial_tells_signal_from_noise_and_changes_no_file(evaluated, project_sql):
    before = hashlib.sha256(evaluated.warehouse.read_bytes()).digest()
    noise = lines(evaluated, project_sql, ONE_VALUE.format(value="hash(user_id, month) % 2"))
    assert noise["verdict"].startswith("no difference"), noise
    # not allowed in a file, but the strongest signal there is
    signal = """select user_id, month, concat('n=', age_months // 6) as feature, 1 as value
        from "warehouse"."main"."stage_labels" where n_children = 1 and month = date_trunc('month', month)"""
    assert lines(evaluated, project_sql, signal)["verdict"].startswith("helps")
    assert hashlib.sha256(evaluated.warehouse.read_bytes()).digest() == before


@pytest.mark.fault("Training", "feature of later months", "life-stage try: LS-FEA-013")
@pytest.mark.parametrize(
    "sql",
    [
        f"""select user_id, month, 'n=x' as feature, count(*) + coalesce(lead(count(*)) over of_user, 0) as value
            from {ACTIONS} group by user_id, month window of_user as (partition by user_id order by month)""",
        f"""select user_id, month, 'n=x' as feature, count(*) / any_value(n) as value
            from {ACTIONS} inner join (select user_id, count(*) as n from {ACTIONS} group by user_id) using (user_id)
            group by user_id, month""",
        f"""select item_id, concat('popular=', count(*) > 50) as feature from {ACTIONS}
            where item_id is not null group by item_id""",
    ],
)
def test_rows_that_depend_on_later_months_are_refused(evaluated, project_sql, sql):
    with pytest.raises(
        TrialError, match=r"^LS-FEA-013 models/life_stage/features/feature_tried\.sql returns other rows"
    ):
        lines(evaluated, project_sql, sql)


@pytest.mark.parametrize(
    ("sql", "code", "fact"),
    [
        (ONE_VALUE.format(value="1").replace(ACTIONS, "stg_actions"), "LS-FEA-007", "stg_actions does not exist"),
        (ONE_VALUE.format(value="avg(dwel_seconds)"), "LS-FEA-011", "dwell_seconds"),
        (
            ONE_VALUE.format(value="1").replace("select user_id, month", "select month"),
            "LS-FEA-002",
            "returns month, feature",
        ),
        (ONE_VALUE.format(value="1") + " having false", "LS-FEA-012", "returns no rows"),
        (ONE_VALUE.format(value="0.0 / 0"), "LS-FEA-003", "NaN, infinite or null"),
        (ONE_VALUE.format(value="1").replace("month,", "max(occurred_at) as month,", 1), "LS-FEA-015", "first day"),
        (ONE_VALUE.format(value="1").replace("n=x", "n_actions=click"), "LS-FEA-016", "n_actions=click"),
        (ONE_VALUE.format(value="1").replace("stg_actions", "stage_labels"), "LS-FEA-007", "stage_labels"),
        (ONE_VALUE.format(value="1").replace("'n=x'", "''"), "LS-FEA-005", "name it group=value"),
        (
            ONE_VALUE.format(value="1") + ", action",
            "LS-FEA-009",
            "returns a feature several times for one user and month",
        ),
    ],
)
def test_mistakes_in_the_sql_have_a_code_and_name_the_place(evaluated, project_sql, sql, code, fact):
    with pytest.raises(TrialError) as raised:
        lines(evaluated, project_sql, sql)
    assert str(raised.value).startswith(code) and fact in str(raised.value)


@pytest.mark.parametrize("ending", [";", "; ", ";\n\n", ";\n-- the end\n", "; -- end", "; /* end */", "; {# end #}"])
def test_a_final_semicolon_is_refused(ending):
    assert wrong_text("feature_x", f"select 1{ending}").startswith(
        "LS-FEA-006 models/life_stage/features/feature_x.sql"
    )


def test_a_semicolon_within_the_text_is_none_of_its_end():
    assert wrong_text("feature_x", "-- days; of purchases\nselect ';' as feature\n-- by month;") is None


@pytest.mark.fault("Training", "feature that reads registrations or predictions", "LS-FEA-008, nothing changed")
def test_registrations_labels_and_predictions_are_no_features(base):
    nodes = json.loads((base.folder / "target" / "manifest.json").read_text("utf-8"))["nodes"]
    groups = groups_in(nodes)
    assert len(groups) >= 8 and [wrong_reads(node) for node in groups.values()] == [None] * len(groups)
    for model in ("stg_children", "stage_labels", "stage_posteriors", "user_stages", "stg_action_rows"):
        reads = groups["feature_brands"] | {"depends_on": {"nodes": [f"model.life_stage.{model}"]}}
        assert wrong_reads(reads).startswith(f"LS-FEA-008 {FOLDER}/feature_brands.sql reads {model}:"), model
    reads["depends_on"]["nodes"] = ["source.life_stage.shop.children", "seed.life_stage.age_words"]
    assert "reads children: read only" in wrong_reads(reads)
    reads["depends_on"]["nodes"] = ["model.life_stage.stg_actions", "seed.life_stage.age_words"]
    assert wrong_reads(reads) is None
    assert wrong_reads(reads | {"depends_on": {"nodes": []}}).startswith("LS-FEA-007")


def test_held_out_users_are_scored_once_and_by_folds_without_them():
    """A feature that depends on the age helps users whom its weights were not trained on."""
    rows, matrix, vocabulary = training_tables(900)
    rows = rows[rows["split"] != "test"]
    taken = np.isin(matrix["row_no"], rows["row_no"])
    number = dict(zip(rows["row_no"], range(1, len(rows) + 1), strict=True))
    kept = {name: values[taken] for name, values in matrix.items()}
    kept["row_no"] = np.array([number[row] for row in kept["row_no"]])
    rows = sampled(rows)
    is_added = (vocabulary["feature"] == "diaper").to_numpy()
    examples = examples_of(rows, kept, len(vocabulary), rows["month"].max())
    fold = rows["fold"].to_numpy()[examples.is_active]
    found = compare(examples.active(np.ones(len(vocabulary), bool)), fold, is_added, AGES, 0.1)
    users = found.months.user[found.months.first_of_users]
    assert len(users) == len(set(users)) > 0.8 * rows["user_no"].nunique()
    n_right = pd.Series(found.p[1] > 0.5).groupby(found.months.user, sort=False).mean()
    np.testing.assert_allclose(found.months.user_means((found.p[1] > 0.5).astype(float)), n_right)
    assert found.verdict(project_settings()).startswith("helps") and found.log_loss.high < 0 < found.accuracy.mean


@pytest.mark.slow
def test_the_command_says_within_seconds_what_is_wrong_and_what_a_good_group_gains(evaluated, tmp_path):
    shop = copy_shop(evaluated, tmp_path / "shop")
    file = shop.folder / FOLDER / "feature_tried.sql"
    environment = {name: text for name, text in os.environ.items() if not name.startswith("LIFE_STAGE_")}
    environment |= {"PYTHONPATH": str(PROJECT / "python"), "LIFE_STAGE_WAREHOUSE": str(shop.warehouse)}

    def tried(sql: str) -> tuple[int, str]:
        file.write_text(sql, encoding="utf-8")
        command = [sys.executable, "-m", "life_stage.commands.command_line", "try", "tried"]
        done = subprocess.run(command, cwd=shop.folder, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    good = ONE_VALUE.format(value="count(*) % 3").replace(ACTIONS, '{{ ref("stg_actions") }}')
    code, printed = tried(good)
    assert code == 0 and "\nverdict " in printed and "Traceback" not in printed, printed
    for sql, error in (
        (f"{good};", "LS-FEA-006"),
        (good.replace('{{ ref("stg_actions") }}', "stg_actions"), "LS-FEA-007"),
        (good.replace("stg_actions", "stg_children"), "LS-FEA-008"),
        (good.replace("stg_actions", "stg_action"), "LS-FEA-011"),
        (good.replace("count(*)", "cuont(*)"), "LS-FEA-011"),
    ):
        code, printed = tried(sql)
        assert code == 1 and error in printed and "Traceback" not in printed, printed
