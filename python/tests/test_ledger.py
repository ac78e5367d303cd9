"""The ledger: no restored, copied or killed state of the warehouse undoes an erasure or turns the clock back."""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from project import assert_stops, copy_shop
from test_erasure import CONSENTS, holding, published_rows

from life_stage.engine.ledger import Ledger, ledger_of

LATER = "2017-05-01 00:00:00"
STAGED = "+stg_actions +stg_children"  # what else a run builds comes from here


def ledger_in(folder: Path, n: int) -> Ledger:
    ledger = Ledger(folder / "warehouse.duckdb.ledger")
    ledger.path.unlink(missing_ok=True)
    ledger.append([{"kind": "clock", "value": f"2017-{number:02d}-01"} for number in range(1, n + 1)])
    return ledger


@given(st.data())
def test_any_change_of_a_line_but_an_unfinished_last_one_is_noticed(tmp_path_factory, data):
    ledger = ledger_in(tmp_path_factory.mktemp("ledger"), 4)
    applied, text = ledger.mark(), ledger.path.read_bytes()
    place = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[place]))
    ledger.path.write_bytes(text[:place] + bytes([byte]) + text[place + 1 :])
    with pytest.raises(ValueError, match="LS-LED-002"):
        ledger.unapplied(applied)
    ledger.path.write_bytes(text[:place])  # cut
    with pytest.raises(ValueError, match="LS-LED-002"):
        ledger.unapplied(applied)
    ledger.path.write_bytes(text + text[:place].rpartition(b"\n")[2])  # the last line was never finished
    assert ledger.unapplied(applied) == []
    ledger.append([{"kind": "clock", "value": "2018-01-01"}])
    assert [entry["value"] for entry in ledger.unapplied(applied)] == ["2018-01-01"]


def test_a_ledger_is_its_owners_and_another_one_or_none_is_noticed(tmp_path):
    first, ledger = ledger_in(tmp_path, 1).mark(), ledger_in(tmp_path, 3)
    applied = ledger.mark()
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    assert len(ledger.unapplied(first)) == 2 and ledger.newest("clock") == "2017-03-01"
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b"2017-03", b"2017-04"))
    with pytest.raises(ValueError, match="LS-LED-002"):
        ledger.unapplied(applied)
    ledger.path.unlink()
    with pytest.raises(ValueError, match="LS-LED-001"):
        ledger.unapplied(applied)


@pytest.fixture(scope="module")
def erased(base, tmp_path_factory):
    """A shop after the erasure of a user with a stage, the user, and a backup of before."""
    shop = copy_shop(base, tmp_path_factory.mktemp("erased") / "shop")
    ((user,),) = shop.query("select min(user_id) from user_stages")
    assert shop.run("life-stage", "backup", "--into", "backups").exit_code == 0
    (backup,) = (shop.folder / "backups").glob("*.duckdb")
    assert shop.operate("erase", user).exit_code == 0
    return shop, user, backup.name


@pytest.mark.fault("State", "backup of before an erasure restored", "erased again, then put in place")
def test_an_erased_user_does_not_come_back_with_a_backup(erased, tmp_path):
    shop, user, backup = copy_shop(erased[0], tmp_path / "shop"), *erased[1:]
    done = shop.operate("restore", f"backups/{backup}")
    assert done.exit_code == 0 and "LS-LED-003 deleted 1 users, erased after this backup" in done.output
    assert holding(shop, user) == {} and not any(published_rows(shop, user).values())
    assert not [file for file in os.listdir(shop.folder) if "restoring" in file]
    shop.build(only=STAGED)
    assert holding(shop, user) == {} and shop.query("select count(*) from erased_users") == [(1,)]


@pytest.mark.fault("State", "restore, then another erasure, without a run", "both users erased")
def test_an_erasure_after_a_restore_erases_its_own_user_too(erased, tmp_path):
    """Beside a warehouse that was copied back, and with nothing published."""
    shop, user, backup = copy_shop(erased[0], tmp_path / "shop"), *erased[1:]
    (shop.folder / "backups" / backup).replace(shop.warehouse)
    ((other,),) = shop.query(f"select max(user_id) from user_stages where user_id <> '{user}'")
    done = shop.operate("erase", other)
    assert done.exit_code == 0 and "erased 1 of 1 users" in done.output
    assert holding(shop, user) == holding(shop, other) == {}
    assert [entry["kind"] for entry in ledger_of(shop.warehouse).entries() if "salt" in entry] == ["erased"] * 2


@pytest.mark.fault("State", "warehouse and published set lost, ledger kept", "restored, erased users are not")
def test_a_backup_is_restored_without_the_erased_although_nothing_is_published_or_the_ledger_was_rebuilt(
    erased, tmp_path
):
    shop, user, backup = copy_shop(erased[0], tmp_path / "shop"), *erased[1:]
    assert shop.operate("rebuild-ledger").exit_code == 0
    shop.warehouse.unlink()
    shop.published.unlink()
    shutil.rmtree(shop.folder / "published.sets")
    done = shop.operate("restore", f"backups/{backup}")
    assert done.exit_code == 0, done.output
    assert holding(shop, user) == {} and holding(shop, "10000003")


@pytest.mark.fault("State", "warehouse of before an erasure copied back", "erased again by the next run")
def test_an_erased_user_does_not_come_back_with_a_copied_file(erased, tmp_path):
    shop, user, backup = copy_shop(erased[0], tmp_path / "shop"), *erased[1:]
    (shop.folder / "backups" / backup).replace(shop.warehouse)
    assert holding(shop, user)
    assert "LS-LED-003 deleted 1 users" in shop.build(only=STAGED).output
    assert holding(shop, user) == {}


@pytest.mark.slow
@pytest.mark.fault("State", "warehouse of erased users lost, without a backup", "the next run leaves them out")
def test_an_erased_user_does_not_come_back_with_a_new_warehouse(erased, tmp_path):
    shop, user, _ = copy_shop(erased[0], tmp_path / "shop"), *erased[1:]
    shop.warehouse.unlink()
    shop.build()
    assert holding(shop, user) == {} and shop.query("select count(*) from user_months") != [(0,)]


@pytest.mark.fault("State", "ledger lost, changed or cut", "LS-LED-001 or LS-LED-002, no change")
def test_without_its_ledger_a_warehouse_is_not_run_until_it_is_rebuilt(erased, tmp_path):
    shop, user, _ = copy_shop(erased[0], tmp_path / "shop"), *erased[1:]
    ledger = ledger_of(shop.warehouse)
    saved = ledger.path.read_bytes()
    ledger.path.unlink()
    assert_stops(shop, "LS-LED-001")
    assert "LS-LED-001" in shop.run("life-stage", "backup", "--into", "backups").output
    ledger.path.write_bytes(saved[: saved.index(b"\n") + 1])
    assert_stops(shop, "LS-LED-002")
    assert shop.operate("rebuild-ledger").exit_code == 0
    assert [entry["kind"] for entry in ledger.entries()] == ["erased", "clock"], "from the tombstones of the warehouse"
    assert "not found, but excluded from now on" in shop.operate("erase", user).output


@pytest.mark.fault("State", "warehouse and ledger put back, as by a snapshot of their disk", "LS-LED-005, no change")
def test_a_ledger_that_goes_back_with_its_warehouse_is_noticed_by_what_is_published(erased, tmp_path):
    shop, user, backup = copy_shop(erased[0], tmp_path / "shop"), *erased[1:]
    ledger = ledger_of(shop.warehouse)
    (shop.folder / "backups" / backup).replace(shop.warehouse)
    (shop.folder / "backups" / backup).with_suffix(".ledger").replace(ledger.path)
    assert_stops(shop, "LS-LED-005")
    assert "LS-LED-005" in shop.operate("erase", "10000003").output
    assert shop.operate("rebuild-ledger").exit_code == 0
    manifest = json.loads((shop.published / "manifest.json").read_text())
    assert manifest["ledger"] == ledger.mark(), "the lines of the tombstones too"
    assert shop.operate("erase", user).exit_code == 0
    assert shop.operate("erase", "nobody").exit_code == 0
    manifest = json.loads((shop.published / "manifest.json").read_text())
    assert manifest["ledger"] == ledger.mark(), "also after an erasure that changes no published file"
    shop.build()
    assert holding(shop, user) == {} and not any(published_rows(shop, user).values())


@pytest.mark.slow
@pytest.mark.fault("State", "warehouse and ledger lost, published set kept", "LS-LED-005; a new ledger by a command")
def test_a_new_warehouse_beside_an_old_set_needs_a_ledger(erased, tmp_path):
    shop, user, _ = copy_shop(erased[0], tmp_path / "shop"), *erased[1:]
    shop.warehouse.unlink()
    ledger_of(shop.warehouse).path.unlink()
    assert "LS-LED-005" in shop.start().output
    assert shop.operate("rebuild-ledger").exit_code == 0
    assert shop.operate("erase", user).exit_code != 0, "there is nobody to erase yet"
    shop.build()
    assert shop.operate("erase", user).exit_code == 0
    assert holding(shop, user) == {} and not any(published_rows(shop, user).values())


@pytest.mark.slow
@pytest.mark.fault("State", "clock behind a run after the restored backup", "LS-RUN-006, no change")
def test_the_clock_does_not_go_back_with_a_backup(erased, tmp_path):
    shop, user, backup = copy_shop(erased[0], tmp_path / "shop"), *erased[1:]
    ledger_of(shop.warehouse).append([{"kind": "clock", "value": "2999-01-01"}])
    assert shop.operate("restore", f"backups/{backup}").exit_code == 0
    assert_stops(shop, "LS-RUN-006", "2999-01-01")
    assert shop.operate("rebuild-ledger").exit_code == 0, "the clock was wrong"
    shop.build()
    assert holding(shop, user) == {}, "the readable lines of the old ledger are kept"


@pytest.mark.fault("State", "consent revoked, broken delivery", "the user is erased, LS-SRC-001")
def test_withdrawn_consent_is_carried_out_and_told_although_the_delivery_stops_the_run(shop):
    shop.write("consents.parquet", CONSENTS.format(source=shop.source))
    shop.build(only=STAGED)
    ((user,),) = shop.query("select min(user_id) from user_stages")
    shop.write("consents.parquet", f"{CONSENTS.format(source=shop.source)} where user_id <> '{user}'")
    (shop.source / "items.parquet").unlink()
    failed = shop.start()
    lines = " ".join(failed.output.split())
    assert failed.exit_code != 0 and "LS-CON-004 1 users had no valid consent" in lines
    assert "LS-SRC-001 items is missing" in lines and "1 users were erased, nothing else was changed" in lines
    assert holding(shop, user) == {} and not any(published_rows(shop, user).values())
    entries = [json.loads(line) for line in ledger_of(shop.warehouse).path.read_text().splitlines()]
    assert [entry["kind"] for entry in entries if "salt" in entry] == ["without consent"]
    assert user not in json.dumps(entries)
