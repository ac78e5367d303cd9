"""Generator of demo data with known truth: python -m life_stage_demo.generate --out data/demo --users 5000."""

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
    """Write the run to out and return its number of actions."""
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
    parser.add_argument(
        "--out", type=Path, required=True, help="directory to write; replaced if it was made by this program"
    )
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--months", type=int, default=24, help="number of months")
    parser.add_argument("--through", help="last month, YYYY-MM (default 2017-02)")
    parser.add_argument("--start", help="first month instead; common months of runs with equal start are equal")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes; the result does not depend on it")
    parser.add_argument("--register-share", type=float, default=Parameters.register_share)
    parser.add_argument("--dirty-share", type=float, default=Parameters.dirty_share, help="added bad rows, 0 for none")
    parser.add_argument("--truth-actions", action="store_true", help="also write whom every action was for")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> tuple[Run, Path, int]:
    """Command line -> (run, target directory, jobs)."""
    options = _parser().parse_args(arguments)
    if options.start and options.through:
        raise InputError(
            "LS-DEMO-002 --start and --through are both given: --months says how many; nothing was changed"
        )
    if options.users < 1 or options.months < 1:
        raise InputError("LS-DEMO-003 --users and --months must be at least 1; nothing was changed")
    try:
        start = (
            month_number(options.start)
            if options.start
            else month_number(options.through or "2017-02") - options.months + 1
        )
    except ValueError:
        raise InputError("LS-DEMO-004 --start or --through is no month like 2017-02; nothing was changed") from None
    parameters = replace(Parameters(), register_share=options.register_share, dirty_share=options.dirty_share)
    run = Run(options.users, start, options.months, options.seed, parameters, options.truth_actions)
    return run, options.out, options.jobs


def main() -> None:
    """Generate and say in one line what was written."""
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
