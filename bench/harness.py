"""Shared code of the benchmarks: simulated sources, warehouses, timing in separate processes, stored results.

Compared pieces of work run in turn, several times, because timings are noisy. Ratios are medians over the rounds.
"""

import hashlib
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb
import numpy as np

PROJECT = Path(__file__).parents[1]
# work: data and warehouses, git-ignored
WORK, RESULTS, CASES = (PROJECT / "bench" / name for name in ("work", "results", "cases"))
QUICK = bool(os.environ.get("QUICK"))  # small sources, one round or seed, no stored results
RUNS = 1 if QUICK else 5
SEEDS, N_USERS = ((1,), 2_000) if QUICK else ((1, 2, 3), 14_000)  # of the studies of quality
MEMORY = "3GB"  # DuckDB's memory limit where memory is measured
CODE = ("bench/*.py", "bench/cases", "macros", "models", "python", "seeds", "*.yml")


# The measured commit, fixed at the start; "-changed" with uncommitted changes or outside a repository.
HEAD, CHANGES = (
    subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True).stdout.strip()
    for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--", *CODE))
)
IS_CHANGED = not HEAD or bool(CHANGES)
COMMIT = HEAD + ("-changed" if IS_CHANGED else "")
SIMULATOR = hashlib.md5(
    b"".join(file.read_bytes() for file in sorted((PROJECT / "python" / "life_stage_demo").glob("*.py")))
).hexdigest()[:8]


def demo_source(name: str, kept: float = 1.0, **options: object) -> Path:
    """A folder of simulated shoppers, generated if missing, a separate one for each version of the simulator.

    kept: share of the actions to keep; options: those of life_stage_demo.generate.
    """
    folder = WORK / f"{name}_{SIMULATOR}"
    if not folder.exists():
        whole = folder.with_name(f"{name}_whole")
        options = {"out": whole, "jobs": 2} | options
        command = [sys.executable, "-m", "life_stage_demo.generate"]
        command += [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        subprocess.run(command, check=True)
        for file in whole.glob("actions/*/*.parquet") if kept < 1 else ():
            chosen = f"select * from '{file}' where hash(action_id) % 1000 < {1000 * kept}"
            duckdb.sql(f"copy ({chosen}) to '{file}_kept' (format parquet)")
            file.with_name(f"{file.name}_kept").replace(file)
        whole.rename(folder)
    return folder


def build(source: Path, name: str, **variables: object) -> Path:
    """A new warehouse of a source, by `dbt build` without data tests."""
    warehouse = WORK / f"{name}.duckdb"
    warehouse.unlink(missing_ok=True)
    progress(f"dbt build of {source.name} into {warehouse.name}")
    dbt(source, name, "build", "--exclude-resource-type", "test", **variables)
    return warehouse


def dbt(source: Path, name: str, *words: str, **variables: object) -> None:
    """Run a dbt command on the warehouse of that name; its output goes to stderr."""
    command = [str(Path(sys.executable).with_name("dbt")), "--quiet", *words, *options_of(name, **variables)]
    environment = os.environ | environment_of(source, name)
    subprocess.run(command, check=True, env=environment, cwd=PROJECT, stdout=sys.stderr)


def environment_of(source: Path, name: str) -> dict[str, str]:
    """Environment variables of the runs of that name."""
    paths = {"SOURCE": source, "WAREHOUSE": WORK / f"{name}.duckdb", "PUBLISHED": WORK / f"{name}_published"}
    return {f"LIFE_STAGE_{key}": str(path) for key, path in paths.items()}


def options_of(name: str, **variables: object) -> list[str]:
    """Options of dbt in the runs of that name."""
    options = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--vars", json.dumps(variables)]
    return [*options, "--target-path", str(WORK / f"{name}_target"), "--log-path", str(WORK / f"{name}_logs")]


def compiled(name: str, model: str, month: str, model_version: str) -> str:
    """The compiled SQL of a model in the build of that name, for a month and a model version."""
    sql = next((WORK / f"{name}_target" / "compiled").rglob(f"{model}.sql")).read_text()
    return sql.replace("__month__", month).replace("__model_version__", model_version)


def queries(case: str, **values: object) -> dict[str, str]:
    """The queries of cases/<case>.sql by the name in the comment above each, with values for its Jinja."""
    import jinja2  # measured processes import this file

    text = jinja2.Template((CASES / f"{case}.sql").read_text()).render(values)
    return dict(re.findall(r"^-- name: (.+)\n((?:(?!-- name: ).*\n?)*)", text, flags=re.M))


def progress(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def measured(work: Callable, *arguments: object) -> dict[str, float]:
    """The figures of a call in a separate process, updated by the dictionary that it returns."""
    context = get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(theirs, work, arguments))
    process.start()
    theirs.close()  # so that recv() fails if the process is killed
    found = mine.recv()
    process.join()
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


def _measure(pipe: Connection, work: Callable, arguments: tuple) -> None:
    try:
        with cpu() as figures:
            returned = work(*arguments)
        pipe.send(figures | (returned or {}))
    except Exception as error:
        pipe.send(repr(error))


@contextmanager
def cpu() -> Iterator[dict[str, float]]:
    """CPU seconds, wall seconds and peak memory of the block, in a dictionary that is filled at its end."""
    figures, before, began = {}, self_cpu(), time.monotonic()
    yield figures
    figures["cpu_s"] = self_cpu() - before
    figures["wall_s"] = time.monotonic() - began
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def self_cpu() -> float:
    """CPU seconds of this process since its start."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def of_children(work: Callable) -> dict[str, float]:
    """CPU seconds of the child processes of some work, and peak memory of the largest."""
    work()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


def in_turn(pieces: dict[str, Callable[[], dict]], runs: int = RUNS) -> dict[str, list[dict]]:
    """Figures of each piece of work per round, after a warm-up round."""
    found = {name: [] for name in pieces}
    for number in range(runs + 1):
        for name, work in pieces.items():
            figures = work()
            if number:
                found[name].append(figures)
            progress(f"  round {number} of {runs}: {name} {figures['cpu_s']:.2f} CPU-s")
    return found


def ratio(found: dict[str, list[dict]], of: str, to: str) -> float:
    """Median over the rounds of the ratio of CPU seconds of two pieces of work."""
    return float(np.median([a["cpu_s"] / b["cpu_s"] for a, b in zip(found[of], found[to], strict=True)]))


def show(title: str, found: dict[str, list[dict]], ratios: dict[str, float]) -> None:
    """Print medians over the rounds, and ratios."""
    print(f"{title}; medians of {len(next(iter(found.values())))} rounds:")
    for name, runs in found.items():
        cpu_s, wall_s, peak_mb = (np.median([run[key] for run in runs]) for key in ("cpu_s", "wall_s", "peak_mb"))
        times = f"{ratios[name]:8.2f} x" if name in ratios else ""
        print(f"  {name:28} {cpu_s:8.2f} CPU-s {wall_s:8.1f} s {peak_mb:8,.0f} MiB {times}")


def machine() -> str:
    """Processor, cores and memory."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")] or [platform.machine()]
    gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return f"{names[0]}, {os.cpu_count()} cores, {gigabytes:.0f} GB"


def keep(name: str, figures: dict, *more_packages: str) -> None:
    """Write the figures with versions and machine to results/<name>.json, except in quick mode."""
    if QUICK:
        return
    packages = (*more_packages, "duckdb", "dbt-core", "dbt-duckdb", "numpy", "scipy", "scikit-learn")
    stored = {"commit": COMMIT, "python": platform.python_version(), "machine": machine()}
    stored |= {"versions": {package: version(package) for package in packages}, "figures": figures}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(stored, indent=1) + "\n")
