"""The monthly job, what goes before it (map, doctor) and after it, operations on the warehouse, recommendations.

Run in the project's folder, they use the same settings: the variables LIFE_STAGE_*, profiles.yml, dbt_project.yml.
Operations hold the run lock, so one fails during a run. An operation that was killed is repeated.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from life_stage import paths

# Commands that read the project's own folder and profile; a host project has others.
OF_OWN_FOLDER = ("demo", "map", "doctor", "run", "sample-rows", "explain", "new-feature", "try", "stages")
OF_OWN_FOLDER += ("backup", "restore")


def main(words: Sequence[str] | None = None) -> None:
    """Run a command. Ends with 1 and an error code if it fails, with 2 if the words are no command."""
    given = parser().parse_args(words)
    paths.keep_private()
    if given.command in OF_OWN_FOLDER and paths.is_host(Path.cwd()):
        sys.exit(
            f"LS-RUN-012 life-stage {given.command} is not for the folder of a host project:"
            " see docs/package.md for its way there; nothing was changed"
        )
    match given.command:
        case "run":
            from life_stage.commands import monthly_run

            sys.exit(monthly_run.main([*vars_option(given.var), *given.options], given.always))
        case "demo":
            from life_stage.commands import demo

            sys.exit(demo.main())
        case "map":
            from life_stage.commands import map_source

            sys.exit(map_source.main(given.files, given.into, given.force, given_vars(given.var)))
        case "reviews":
            from life_stage.commands import reviews

            return reviews.main(given.reviews, given.items, given.into)
        case "doctor":
            from life_stage.commands import doctor

            sys.exit(doctor.main(given.json, **given_vars(given.var)))
        case "explain":
            from life_stage.report import explain

            return explain.main(given.user)
        case "sample-rows":
            from life_stage.commands import sample_rows

            return sample_rows.main()
        case "new-feature":
            from life_stage.commands import new_feature

            return new_feature.main(given.name)
        case "try":
            from life_stage.commands import try_feature

            return try_feature.main(given.name, given_vars(given.var))
        case "stages":
            from life_stage.commands import stage_columns

            return stage_columns.main()
        case "serve" | "recommend":
            from life_stage_checkout import command

            return command.run(given)
    from life_stage.commands import operations  # loads the engine, which takes a second

    operations.run(given)


def given_vars(given: Sequence[str]) -> dict[str, object]:
    """The vars of NAME=VALUE words, whose values are YAML. Exits with LS-VAR-007 for other words."""
    if wrong := [word for word in given if not re.fullmatch(r"[a-z_]+=.*", word)]:
        sys.exit(f"LS-VAR-007 --var {wrong[0]} has no value: write --var checkout_months=0; nothing was changed")
    return {name: yaml.safe_load(value) for name, _, value in (word.partition("=") for word in given)}


def vars_option(given: Sequence[str]) -> list[str]:
    """The option of dbt build for NAME=VALUE words."""
    variables = given_vars(given)
    return ["--vars", json.dumps(variables, default=str)] if variables else []


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    root = argparse.ArgumentParser("life-stage", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = root.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    command("demo", "simulate two years of shoppers in data/demo and run the monthly job on them")
    mapping = command("map", "write mappings for a shop's own files, and say what a run would read of them")
    mapping.add_argument(
        "files",
        nargs="+",
        metavar="FILE_OR_TABLE",
        help="the source folder, files in one folder, or tables as schema.table",
    )
    mapping.add_argument("--into", type=Path, default=None, metavar="FOLDER", help="default: mapping")
    mapping.add_argument("--force", action="store_true", help="replace mappings that are there")
    reviewing = command("reviews", "write a source from product reviews, whose stated ages are registrations")
    reviewing.add_argument("reviews", type=Path, metavar="FILE", help="the reviews")
    reviewing.add_argument("--items", type=Path, metavar="FILE", help="a file that describes the items")
    reviewing.add_argument("--into", type=Path, required=True, metavar="FOLDER", help="a new folder")
    checking = command(
        "doctor", "check the environment, disk and locks, and say what a run would read and how long it takes"
    )
    checking.add_argument("--json", action="store_true", help="as JSON")
    running = command("run", "run the monthly job, if there is anything new")
    running.add_argument("--always", action="store_true", help="also if there is nothing new")
    running.add_argument("options", nargs="*", metavar="-- OPTION", help="options of dbt build")
    explaining = command("explain", "write a page about one user, for your eyes only")
    explaining.add_argument("user", metavar="USER", help="user id, as in the source or in the tables")
    command("sample-rows", "print 50 random valid rows and 50 random rejected rows")
    starting = command("new-feature", "start a feature group: its SQL file, listed in dbt_project.yml")
    starting.add_argument("name", metavar="NAME", help="such as evening_hours")
    trying = command("try", "check a feature group and measure its gain on held-out users; changes nothing")
    trying.add_argument("name", metavar="NAME", help="such as evening_hours")
    for of_a_run in (mapping, checking, running, trying):
        of_a_run.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="a var; may be repeated")
    command("stages", "write the stage columns of the marts after a change of var stages or infer_pregnancy")
    erase = command("erase", "erase users for good")
    erase.add_argument("users", nargs="*", metavar="USER", help="user id, as in the source or in the tables")
    migrate = command("migrate", "migrate tables of an older version")
    rebuild = command("rebuild-posteriors", "make the next run compute all posteriors again")
    ledger = command("rebuild-ledger", "write a lost ledger again, from what the warehouse knows")
    naming = command("pseudonyms", "write user ids with their pseudonyms; needs the key")
    naming.add_argument("--into", default="pseudonyms.csv", metavar="FILE", help="default: %(default)s")
    restoring = command("restore", "replace the warehouse by a backup; the replaced one is kept")
    restoring.add_argument("copy", type=Path, metavar="FILE", help="a file that backup wrote")
    for in_dbt in (erase, migrate, rebuild, ledger, naming, restoring):
        in_dbt.add_argument("--vars", default="{}", metavar="YAML", help="vars in place of those of dbt_project.yml")
    saving = command("backup", "copy the warehouse into a folder")
    saving.add_argument("--into", type=Path, default="warehouse/backups", metavar="FOLDER", help="default: %(default)s")
    viewing = command("views", "write the view file of a published set that was copied or moved")
    viewing.add_argument("folder", type=Path, metavar="FOLDER", help="the copy")
    serving = command("serve", "answer POST /recommendations over HTTP from the published set; extra: serve")
    serving.add_argument("--host", default="127.0.0.1", help="default: %(default)s; no authentication: see docs")
    serving.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    serving.add_argument("--log", type=Path, metavar="FOLDER", help="log requests and answers into its subfolders")
    serving.add_argument(
        "--max-age-days", type=int, metavar="DAYS", help="refuse answers from data that are older; default: answer"
    )
    asking = command("recommend", "print items for a cart, a user or both, from the published set")
    asking.add_argument("cart", nargs="*", metavar="ITEM", help="item in the cart")
    asking.add_argument("--user", help="user id, as in the source")
    asking.add_argument("--n", type=int, default=10, help="number of items (default: %(default)s)")
    return root


if __name__ == "__main__":
    main()
