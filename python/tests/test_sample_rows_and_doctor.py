"""Commands `life-stage sample-rows` and `life-stage doctor`: samples of the data, checks of the installation."""

import re
from pathlib import Path

import pytest
from project import PROJECT

from life_stage.commands import doctor
from life_stage.commands.sample_rows import sample_rows
from life_stage.engine.warehouse_lock import take_lock


def test_an_audit_shows_rows_of_both_kinds_and_how_many_there_are(base):
    text = sample_rows(base.warehouse, n_rows=5)
    n_valid, n_rejected = (
        base.query(f"select count(*) from {table}")[0][0] for table in ("stg_actions", "stg_rejected_actions")
    )
    assert f"Valid: 5 of {n_valid:,}\n" in text and f"Rejected: {min(5, n_rejected)} of {n_rejected:,}\n" in text
    valid, rejected = text.split("\n\n")
    known = {action for (action,) in base.query("select action_id from stg_actions")}
    assert {line.split()[0] for line in valid.splitlines()[2:]} <= known
    reasons = {reason for (reason,) in base.query("select reason from stg_rejected_actions")}
    assert {line.split()[0] for line in rejected.splitlines()[2:]} <= reasons


@pytest.fixture
def look(base, tmp_path):
    """Findings on a changed base."""

    def findings(**changed):
        paths = {"source": base.source, "warehouse": tmp_path / "w.duckdb", "published": base.published}
        return list(doctor.findings(PROJECT, **(paths | changed)))

    return findings


def test_a_valid_installation_has_no_findings(look):
    """For any package versions, because the tests run with several."""
    assert [str(found) for found in look() if not found.is_ok and "versions of packages" not in found.check] == []


def test_a_missing_table_is_named(look, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "items.csv").write_text("item_id,leaf_category\n")
    wrong = [str(finding) for finding in look(source=tmp_path / "source") if not finding.is_ok]
    assert len(wrong) == 1 and "actions" in wrong[0] and "LS-SRC-001" in wrong[0], "children are optional"


def test_a_linked_source_is_ok_with_the_number_of_its_files_and_its_links(look, base, tmp_path):
    (tmp_path / "disk").symlink_to(base.source)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "actions").symlink_to("../disk/actions")
    for table in ("items", "children"):
        (tmp_path / "shop" / f"{table}.parquet").symlink_to(base.source / f"{table}.parquet")
    ok = [str(found) for found in look(source=tmp_path / "shop") if found.is_ok]
    n_files = len(list(base.source.glob("actions/**/*.parquet")))
    assert f"ok      {n_files} files of actions in {tmp_path / 'shop'}, through the links actions" in ok


def test_a_link_to_nothing_is_named(look, tmp_path):
    (tmp_path / "source").mkdir()
    for table in ("actions", "items", "children"):
        (tmp_path / "source" / f"{table}.csv").symlink_to("lost.csv")
    wrong = [str(finding) for finding in look(source=tmp_path / "source") if not finding.is_ok]
    assert len(wrong) == 3 and "LS-SRC-004 actions.csv is a link to nothing" in wrong[0]


def test_an_occupied_publication_path_is_named(look, tmp_path):
    (tmp_path / "mine").mkdir()
    (wrong,) = (finding for finding in look(published=tmp_path / "mine") if not finding.is_ok)
    assert "LS-PUB-001" in str(wrong)


def test_who_holds_the_warehouse_is_named(look, tmp_path):
    warehouse = tmp_path / "held.duckdb"
    take_lock(warehouse)
    (wrong,) = (finding for finding in look(warehouse=warehouse) if not finding.is_ok)
    assert re.search(r"in use by process \d+ on .*LS-RUN-001", str(wrong))


def test_low_disk_space_is_reported(look, monkeypatch):
    monkeypatch.setattr(doctor, "DISK_FACTOR", 1e12)
    (wrong,) = (finding for finding in look() if not finding.is_ok)
    assert "free in" in wrong.check


def test_packages_of_other_versions_are_named(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("duckdb==0.0.1 \\\n    --hash=sha256:0\nno-such-package==1.0\n")
    assert re.fullmatch(r"duckdb \S+ in place of 0\.0\.1", doctor.other_versions(Path(lock)))
