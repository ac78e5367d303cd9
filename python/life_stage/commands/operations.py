"""Operations of `life-stage` on the warehouse, each a function by its command's name."""

import argparse
import json
import os
import sys
from pathlib import Path

import duckdb
from dbt_common.exceptions import DbtRuntimeError

from life_stage import paths, publishing
from life_stage.engine.pseudonyms import key_of
from life_stage.operations import backup as backups

QUIET = ("--quiet", "--log-level-file", "none", "--no-write-json")  # dbt logs its arguments, which may be user ids


def run(given: argparse.Namespace) -> None:
    """Run the operation of a command. Ends the program with 1 and an error code if it fails."""
    try:
        globals()[given.command.replace("-", "_")](given)
    except (ValueError, DbtRuntimeError) as error:
        sys.exit(str(error))
    except (OSError, duckdb.Error) as error:
        sys.exit(f"LS-BAK-003 {error}: remove the cause and repeat the command; the warehouse was not replaced")


def erase(given: argparse.Namespace) -> None:
    """Erase users."""
    operate("erase", given, users=given.users)


def rebuild_ledger(given: argparse.Namespace) -> None:
    """Write the ledger again."""
    operate("rebuild_ledger", given)


def migrate(given: argparse.Namespace) -> None:
    """Migrate the tables."""
    operate("migrate", given)


def rebuild_posteriors(given: argparse.Namespace) -> None:
    """Make the next run compute all posteriors again."""
    operate("rebuild_posteriors", given)


def operate(operation: str, given: argparse.Namespace, *options: str, **arguments: object) -> None:
    """Run an operation in dbt, which reads the project, takes the lock and connects. Ends the program if it fails."""
    from dbt.cli.main import dbtRunner  # takes a second

    call = json.dumps({"operation": operation, "arguments": arguments})
    here = ["--project-dir", "."] + ([] if paths.is_host(Path.cwd()) else ["--profiles-dir", "."])  # as in a run
    words = [*QUIET, "run-operation", "operate", *here, *options, "--args", call, "--vars", given.vars]
    if not dbtRunner().invoke(words).success:
        sys.exit(1)


def pseudonyms(given: argparse.Namespace) -> None:
    """Write the mapping for its owner's eyes only, outside the sandbox, which could not write the file."""
    if not key_of(os.environ):
        raise ValueError("LS-PRI-002 no key for pseudonyms is set: set LIFE_STAGE_ID_KEY; nothing was changed")
    os.umask(0o077)
    target = () if paths.is_host(Path.cwd()) else ("--target", "duckdb")
    operate("write_pseudonyms", given, *target, path=given.into)


def backup(given: argparse.Namespace) -> None:
    """Save the warehouse."""
    print(f"saved {paths.warehouse()} as {backups.save(paths.warehouse(), given.into)}")


def views(given: argparse.Namespace) -> None:
    """Write the views of a copied set."""
    manifest = paths.read_manifest(given.folder)
    if manifest is None:
        raise ValueError(f"LS-PUB-002 {given.folder} is no published set: name a folder with its manifest.json")
    publishing.write_views(given.folder, manifest)
    print(f"wrote {given.folder / publishing.VIEW_FILE}")


def restore(given: argparse.Namespace) -> None:
    """Restore a backup, without the users whom the ledger names."""

    def erase_again(warehouse: Path) -> None:
        os.environ["LIFE_STAGE_WAREHOUSE"] = str(warehouse)
        operate("apply_ledger", given, is_restored=True)

    warehouse = paths.warehouse()
    previous = backups.restore(given.copy, warehouse, erase_again)
    print(f"restored {warehouse}" + (f"; the previous one is {previous}" if previous else ""))
