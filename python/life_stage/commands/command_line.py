"""The monthly job, operations on the warehouse (erasure, migration, pseudonyms, backup, restore), and recommendations.

Run in the project's folder, they use the same settings: the variables LIFE_STAGE_*, profiles.yml, dbt_project.yml.
Operations hold the run lock, so one fails during a run. An operation that was killed is repeated.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(words: Sequence[str] | None = None) -> None:
    """Run a command. Ends with 1 and an error code if it fails, with 2 if the words are no command."""
    given = parser().parse_args(words)
    if given.command == "run":
        from life_stage.commands import monthly_run

        sys.exit(monthly_run.main(given.options, given.always))
    if given.command in ("serve", "recommend"):
        from life_stage_checkout import command

        return command.run(given)
    from life_stage.commands import operations  # loads the engine, which takes a second

    operations.run(given)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    root = argparse.ArgumentParser("life-stage", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = root.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    running = command("run", "run the monthly job, if there is anything new")
    running.add_argument("--always", action="store_true", help="also if there is nothing new")
    running.add_argument("options", nargs="*", metavar="-- OPTION", help="options of dbt build")
    erase = command("erase", "erase users for good")
    erase.add_argument("users", nargs="*", metavar="USER", help="user id, as in the source or in the tables")
    migrate = command("migrate", "migrate tables of an older version")
    rebuild = command("rebuild-posteriors", "make the next run compute all posteriors again")
    mapping = command("pseudonyms", "write user ids with their pseudonyms; needs the key")
    mapping.add_argument("--into", default="pseudonyms.csv", metavar="FILE", help="default: %(default)s")
    for in_dbt in (erase, migrate, rebuild, mapping):
        in_dbt.add_argument("--vars", default="{}", metavar="YAML", help="vars in place of those of dbt_project.yml")
    saving = command("backup", "copy the warehouse into a folder")
    saving.add_argument("--into", type=Path, default="warehouse/backups", metavar="FOLDER", help="default: %(default)s")
    restoring = command("restore", "replace the warehouse by a backup; the replaced one is kept")
    restoring.add_argument("copy", type=Path, metavar="FILE", help="a file that backup wrote")
    viewing = command("views", "write the view file of a published set that was copied or moved")
    viewing.add_argument("folder", type=Path, metavar="FOLDER", help="the copy")
    serving = command("serve", "answer POST /recommendations over HTTP from the published set; extra: serve")
    serving.add_argument("--host", default="127.0.0.1", help="default: %(default)s; no authentication: see docs")
    serving.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    serving.add_argument("--log", type=Path, metavar="FOLDER", help="log requests and answers into its subfolders")
    asking = command("recommend", "print items for a cart, a user or both, from the published set")
    asking.add_argument("cart", nargs="*", metavar="ITEM", help="item in the cart")
    asking.add_argument("--user", help="user id, as in the source")
    asking.add_argument("--n", type=int, default=10, help="number of items (default: %(default)s)")
    return root


if __name__ == "__main__":
    main()
