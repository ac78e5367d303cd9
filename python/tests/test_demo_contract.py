"""Source directory of the demo: written completely or not at all, never over other files."""

import json

import pyarrow as pa
import pytest

from life_stage_demo.contract import MARKER, InputError, MonthFiles, replacing


def test_a_failed_run_leaves_what_was_there(tmp_path):
    target = tmp_path / "source"
    with replacing(target, "first") as folder:
        (folder / "data").write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(target, "second") as folder:
        (folder / "data").write_text("half")
        raise KeyboardInterrupt
    assert (target / "data").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_directory_of_ours_is_replaced_whole(tmp_path):
    target = tmp_path / "source"
    for text in ("first", "second"):
        with replacing(target, text) as folder:
            (folder / text).write_text(text)
    assert sorted(path.name for path in target.iterdir()) == sorted([MARKER, "second"])
    assert json.loads((target / MARKER).read_text()) == {"made_by": "second"}


def test_somebody_elses_directory_is_never_replaced(tmp_path):
    (tmp_path / "photo").write_text("precious")
    with pytest.raises(InputError, match="LS-DEMO-001"), replacing(tmp_path, "program"):
        pass
    assert (tmp_path / "photo").read_text() == "precious"


def test_a_month_keeps_the_order_of_its_rows_across_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("life_stage_demo.contract.ROWS_PER_GROUP", 4)
    monkeypatch.setattr("life_stage_demo.contract.ROWS_PER_FILE", 10)
    files = MonthFiles(tmp_path)
    for number in range(9):
        files.append("2016-01", pa.table({"x": [3 * number, 3 * number + 1, 3 * number + 2]}))
    files.close()
    parts = sorted((tmp_path / "month=2016-01").iterdir())
    assert len(parts) > 1
    assert [x for part in parts for x in pa.parquet.read_table(part)["x"].to_pylist()] == list(range(27))
