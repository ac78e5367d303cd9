"""docs/adding_a_feature.md as a test: its commands and its SQL, run in order, give a trained feature."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pandas as pd
import pytest
from project import PROJECT, SMALL, made_once, make_shop

pytestmark = pytest.mark.slow
DOCUMENT = (PROJECT / "docs" / "adding_a_feature.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", DOCUMENT, flags=re.M | re.S)
FEATURE_FILE = re.search(r"`(models/life_stage/features/feature_\w+\.sql)`", DOCUMENT).group(1)
ASK = re.search(r"`(\.venv/bin/python [^`]*QUERY[^`]*)`", DOCUMENT).group(1)
TRIAL = Path("warehouse") / "trial.duckdb"
FEATURE = "feature = 'evening_share=20-23'"


def run(checkout: Path, command: str) -> str:
    """The output of a command, which must succeed."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("LIFE_STAGE_", "MAKE"))}
    environment |= {"PYTHONPATH": str(PROJECT / "python")}
    done = subprocess.run(
        command, shell=True, cwd=checkout, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
    return done.stdout


def make_checkout(folder: Path, source: Path) -> None:
    """The project with its environment, a finished run on a small source, and vars that fit so few users."""
    make_shop(folder)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(PROJECT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    settings = (folder / "dbt_project.yml").read_text(encoding="utf-8")
    of_groups = "".join(f"  {name}: {value}\n" for name, value in SMALL.items())  # as on the command line
    # One bin a stage: with the default 20 bins these users are too few for an evaluation.
    changes = {
        r"^vars:\n": f"vars:\n{of_groups}",
        r"^  evaluation_from: \S+": '  evaluation_from: "2017-02"',
        r"^  age_bin_edges: .*": "  age_bin_edges: [-34, -9, 84, 110]",
    }
    for pattern, changed in changes.items():
        settings, n_found = re.subn(pattern, changed, settings, flags=re.M)
        assert n_found == 1, pattern
    (folder / "dbt_project.yml").write_text(settings, encoding="utf-8")
    shutil.copytree(source, folder / "data" / "demo")
    run(folder, "make build")


def follow(checkout: Path) -> list[str]:
    """The output of each block of the document, in order; the first SQL goes into the file that the command wrote."""
    printed, is_written = [], False
    for language, text in BLOCKS:
        if language == "sql" and not is_written:
            assert (checkout / FEATURE_FILE).exists(), "the command before has written it"
            (checkout / FEATURE_FILE).write_text(text, encoding="utf-8")
            is_written = True
        else:
            printed.append(run(checkout, ASK.replace("QUERY", text) if language == "sql" else text))
    return printed


@pytest.fixture(scope="module")
def followed(base, tmp_path_factory):
    """A checkout in which the document was followed, what its blocks printed, and the trial warehouse to read."""

    def make(folder: Path) -> None:
        make_checkout(folder, base.source)
        (folder / "printed.json").write_text(json.dumps(follow(folder)), encoding="utf-8")

    folder = made_once(tmp_path_factory, "adding a feature", make)
    printed = json.loads((folder / "printed.json").read_text(encoding="utf-8"))
    with duckdb.connect(folder / TRIAL, read_only=True) as trial:
        yield SimpleNamespace(folder=folder, printed=printed, trial=trial)


def rows(followed, sql: str) -> list[tuple]:
    return followed.trial.execute(sql).fetchall()


def test_the_feature_is_counted_for_every_user_and_month_with_actions(followed):
    found = followed.trial.execute(f"select user_id, month, value from user_month_features where {FEATURE}").df()
    actions = followed.trial.execute("select user_id, month, hour(occurred_at) as hour from stg_actions").df()
    closed = [month for (month,) in rows(followed, "select month from month_calendar where is_closed")]
    actions = actions[actions["month"].dt.date.isin(closed)]
    expected = actions.assign(value=actions["hour"].isin([20, 21, 22])).groupby(["user_id", "month"], as_index=False)
    order = ["user_id", "month"]
    left, right = (f.sort_values(order, ignore_index=True) for f in (found, expected["value"].mean()))
    pd.testing.assert_frame_equal(left, right, check_dtype=False)
    assert left["value"].nunique() > 10


def test_both_regressions_have_its_coefficients(followed):
    assert rows(followed, f"select count(*) from training_vocabulary where {FEATURE} and scale > 0") == [(1,)]
    is_coefficient = "parameter_type = 'coefficient' and value <> 0"
    coefficients = f"select model_name, count(*) from stage_coefficients where {FEATURE} and {is_coefficient}"
    ((n_bins,),) = rows(followed, "select count(*) from age_bins")
    assert rows(followed, f"{coefficients} group by model_name order by model_name") == [
        ("log_likelihood", n_bins),
        ("memory_less", n_bins),
    ]


def test_its_weights_tell_ages_apart(followed):
    kept = f"select count(*) > 0 from strongest_features where {FEATURE}"
    assert rows(followed, kept) == [(True,)]


def test_the_document_s_queries_run(followed):
    _, _, compared, support, weights, reasons = followed.printed
    for method in ("birth_month_filter", "memory_less", "prior"):
        assert method in compared
    assert "log_likelihood" in support and "memory_less" in support
    ((n_bins,),) = rows(followed, "select count(*) from age_bins")
    assert len(re.findall(r"│ +-?\d+ │ +-?\d+ │ +-?\d", weights)) == n_bins
    assert re.search(r"│ +\d+ │ +\d+ │ \d{4}-\d\d-\d\d │ +\d", reasons)  # child_no, rank, month, contribution


def test_the_file_alone_makes_the_feature(followed):
    changed = []
    for folder in ("models", "macros", "seeds", "tests"):
        for file in (followed.folder / folder).rglob("*"):
            original = PROJECT / file.relative_to(followed.folder)
            if file.is_file() and (not original.exists() or file.read_bytes() != original.read_bytes()):
                changed.append(str(file.relative_to(followed.folder)))
    assert changed == [FEATURE_FILE]
    assert (followed.folder / "published_trial" / "user_stages.parquet").exists()


def test_a_file_deleted_with_its_entry_is_gone_from_the_features_and_leaves_the_stages(followed, tmp_path):
    stages = "select count(*), sum(hash(e)) from stage_log_likelihoods as e"
    folder = shutil.copytree(followed.folder, tmp_path / "checkout", symlinks=True)
    (folder / FEATURE_FILE).unlink()
    settings, entry = folder / "dbt_project.yml", f"    - {Path(FEATURE_FILE).stem}\n"
    assert entry in settings.read_text(encoding="utf-8")
    settings.write_text(settings.read_text(encoding="utf-8").replace(entry, ""), encoding="utf-8")
    run(folder, next(text for _, text in BLOCKS if "make build" in text))
    with duckdb.connect(folder / TRIAL, read_only=True) as trial:
        assert trial.execute(f"select count(*) from user_month_features where {FEATURE}").fetchall() == [(0,)]
        assert trial.execute("select count(*) > 0 from user_month_features").fetchall() == [(True,)]
        assert trial.execute(stages).fetchall() == rows(followed, stages)
