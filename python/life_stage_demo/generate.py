"""Generator of demo data with known truth: python -m life_stage_demo.generate --out data/demo --users 5000"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from .contract import InputError, MonthFiles, replacing, run_program
from .months import month_number
from .parameters import Parameters
from .simulation import USERS_PER_CHUNK, Run, catalogue_of, simulate
from .truth import FamilyFiles


def generate(run: Run, out: Path, jobs: int = 1) -> int:
    """Write the simulated data to out; returns the number of actions."""
    n_actions, n_chunks = 0, -(-run.n_users // USERS_PER_CHUNK)
    with replacing(out, "life_stage_demo.generate") as folder:
        actions, truth_actions = MonthFiles(folder / "actions"), MonthFiles(folder / "truth" / "actions")
        families = FamilyFiles(folder, run)
        for number, chunk in enumerate(simulate(run, jobs), start=1):
            for month, table in chunk.actions.items():
                actions.append(month, table)
                n_actions += table.num_rows
            for month, table in chunk.truth_actions.items():
                truth_actions.append(month, table)
            families.append(chunk)
            _progress(number, n_chunks, n_actions)
        actions.close()
        truth_actions.close()
        families.write(catalogue_of(run.seed, run.parameters))
    return n_actions


def _progress(done: int, total: int, n_actions: int) -> None:
    if sys.stderr.isatty():
        print(
            f"\r{done} of {total} chunks, {n_actions:,} actions",
            end="\n" if done == total else "",
            file=sys.stderr,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="life_stage_demo.generate", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory to write; replaced if this program wrote it")
    parser.add_argument("--users", type=int, default=5000, help="number of users")
    parser.add_argument("--months", type=int, default=24, help="number of months")
    parser.add_argument("--through", help="last month, YYYY-MM (default 2017-02)")
    parser.add_argument("--start", help="first month, instead of --through; runs with equal start share their months")
    parser.add_argument("--seed", type=int, default=1, help="random seed")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes; the result does not depend on it")
    parser.add_argument(
        "--register-share", type=float, default=Parameters.register_share, help="share of families that register"
    )
    parser.add_argument(
        "--childless-share", type=float, default=Parameters.childless_share, help="share of shoppers without a child"
    )
    parser.add_argument("--dirty-share", type=float, default=Parameters.dirty_share, help="share of added invalid rows")
    parser.add_argument("--truth-actions", action="store_true", help="also write the true target of every action")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> tuple[Run, Path, int]:
    """Parsed command line: (run, target directory, jobs)."""
    options = _parser().parse_args(arguments)
    if options.start and options.through:
        raise InputError(
            "LS-DEMO-002 --start and --through are both given: pass one of them and --months; nothing was changed"
        )
    if options.users < 1 or options.months < 1:
        raise InputError("LS-DEMO-003 --users or --months is below 1: pass 1 or more; nothing was changed")
    try:
        start = (
            month_number(options.start)
            if options.start
            else month_number(options.through or "2017-02") - options.months + 1
        )
    except ValueError:
        raise InputError(
            "LS-DEMO-004 --start or --through is not a month: pass YYYY-MM, such as 2017-02; nothing was changed"
        ) from None
    parameters = replace(
        Parameters(),
        register_share=options.register_share,
        childless_share=options.childless_share,
        dirty_share=options.dirty_share,
    )
    run = Run(options.users, start, options.months, options.seed, parameters, options.truth_actions)
    return run, options.out, options.jobs


def main() -> None:
    """Generate the data and print one line of summary."""
    run, out, jobs = parse_arguments()
    began = time.monotonic()
    n_actions = generate(run, out, jobs)
    seconds = time.monotonic() - began
    print(
        f"{n_actions:,} actions of {run.n_users:,} users in {run.n_months} months written to {out} in {seconds:.0f} s",
        file=sys.stderr,
    )


if __name__ == "__main__":
    run_program(main)
