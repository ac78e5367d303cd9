"""Operations on the warehouse: erasure, migration, rebuild of posteriors, pseudonyms, backup and restore.

Run in the project's folder, they use the settings of a run: the variables LIFE_STAGE_*, profiles.yml, dbt_project.yml.
They hold the run lock, so they fail during a run. An operation that was killed is repeated.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
from dbt_common.exceptions import DbtRuntimeError

from life_stage import paths, publishing
from life_stage.engine.pseudonyms import key_of
from life_stage.operations import backup

HERE = ("--project-dir", ".", "--profiles-dir", ".")  # those of `make build`
QUIET = ("--quiet", "--log-level-file", "none", "--no-write-json")  # dbt logs its arguments, which may be user ids


def main(words: Sequence[str] | None = None) -> None:
    """Run a command. Ends with 1 and an error code if it fails, with 2 if the words are no command."""
    given = parser().parse_args(words)
    try:
        given.run(given)
    except (ValueError, DbtRuntimeError) as error:
        sys.exit(str(error))
    except (OSError, duckdb.Error) as error:
        sys.exit(f"LS-BAK-003 {error}: remove the cause and repeat the command; the warehouse was not replaced")


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    root = argparse.ArgumentParser("life-stage", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = root.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=text)
        found.set_defaults(run=run)
        return found

    erase = command("erase", lambda given: operate("erase", given, users=given.users), "erase users for good")
    erase.add_argument("users", nargs="*", metavar="USER", help="user id, as in the source or in the tables")
    migrate = command("migrate", lambda given: operate("migrate", given), "migrate tables of an older version")
    rebuild = command(
        "rebuild-posteriors",
        lambda given: operate("rebuild_posteriors", given),
        "make the next run compute all posteriors again",
    )
    mapping = command("pseudonyms", write_pseudonyms, "write user ids with their pseudonyms; needs the key")
    mapping.add_argument("--into", default="pseudonyms.csv", metavar="FILE", help="default: %(default)s")
    for in_dbt in (erase, migrate, rebuild, mapping):
        in_dbt.add_argument("--vars", default="{}", metavar="YAML", help="vars in place of those of dbt_project.yml")
    saving = command("backup", save, "copy the warehouse into a folder")
    saving.add_argument("--into", type=Path, default="warehouse/backups", metavar="FOLDER", help="default: %(default)s")
    restoring = command("restore", restore, "replace the warehouse by a backup; the replaced one is kept")
    restoring.add_argument("copy", type=Path, metavar="FILE", help="a file that backup wrote")
    viewing = command("views", write_views_of, "write the view file of a published set that was copied or moved")
    viewing.add_argument("folder", type=Path, metavar="FOLDER", help="the copy")
    return root


def operate(operation: str, given: argparse.Namespace, *options: str, **arguments: object) -> None:
    """Run an operation in dbt, which reads the project, takes the lock and connects. Ends the program if it fails."""
    from dbt.cli.main import dbtRunner  # takes a second

    call = json.dumps({"operation": operation, "arguments": arguments})
    words = [*QUIET, "run-operation", "operate", *HERE, *options, "--args", call, "--vars", given.vars]
    if not dbtRunner().invoke(words).success:
        sys.exit(1)


def write_pseudonyms(given: argparse.Namespace) -> None:
    """Write the mapping for its owner's eyes only, outside the sandbox, which could not write the file."""
    if not key_of(os.environ):
        raise ValueError("LS-PRI-002 no key for pseudonyms is set: set LIFE_STAGE_ID_KEY; nothing was changed")
    os.umask(0o077)
    operate("write_pseudonyms", given, "--target", "duckdb", path=given.into)


def save(given: argparse.Namespace) -> None:
    """Save the warehouse."""
    print(f"saved {paths.warehouse()} as {backup.save(paths.warehouse(), given.into)}")


def write_views_of(given: argparse.Namespace) -> None:
    """Write the views of a copied set."""
    manifest = paths.read_manifest(given.folder)
    if manifest is None:
        raise ValueError(f"LS-PUB-002 {given.folder} is no published set: name a folder with its manifest.json")
    publishing.write_views(given.folder, manifest)
    print(f"wrote {given.folder / publishing.VIEW_FILE}")


def restore(given: argparse.Namespace) -> None:
    """Restore a backup."""
    previous = backup.restore(given.copy, paths.warehouse())
    print(f"restored {paths.warehouse()}" + (f"; the previous one is {previous}" if previous else ""))


if __name__ == "__main__":
    main()
