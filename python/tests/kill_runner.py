"""Runs dbt in a process of its own and, when told so, kills it before a step of a model.

As a program it takes dbt's arguments. LIFE_STAGE_KILL_MODELS names the models to watch: every SQL statement they issue,
BEGIN and COMMIT included, and every file operation below LIFE_STAGE_PUBLISHED is a boundary. LIFE_STAGE_KILL_AT=n kills
the process before the n-th; without it, each boundary is printed with what a kill there would leave on disk.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

MARK = "boundary "
FILE_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "shutil.copyfile"}


def run(shop, *words: str, watch: str = "", kill_at: int | None = None, **variables) -> list[dict]:
    """One dbt command in the shop's folder; returns the boundaries it passed: number, model, next, on_disk."""
    done = start(shop, *words, watch=watch, kill_at=kill_at, **variables)
    output, errors = done.communicate(timeout=600)
    wanted = 0 if kill_at is None else -signal.SIGKILL
    assert done.returncode == wanted, f"{words} ended with {done.returncode}\n{output[-5000:]}\n{errors[-5000:]}"
    return [json.loads(line.removeprefix(MARK)) for line in output.splitlines() if line.startswith(MARK)]


def start(shop, *words: str, watch: str = "", kill_at: int | None = None, **variables) -> subprocess.Popen:
    """The process of one dbt command in the shop's folder."""
    from project import PLACES, SMALL

    command = [sys.executable, __file__, "--no-use-colors", *words, "--vars", json.dumps(SMALL | variables)]
    command += ["--target-path", "target", "--log-path", "logs"]
    hook = {"LIFE_STAGE_KILL_MODELS": watch, "LIFE_STAGE_KILL_AT": str(kill_at or "")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=shop.folder, env=os.environ | PLACES | hook, **pipes)


class Watch:
    """Counts the boundaries of the watched models and dies at the wanted one."""

    def __init__(self) -> None:
        self.models = os.environ["LIFE_STAGE_KILL_MODELS"].split()
        self.kill_at = int(os.environ["LIFE_STAGE_KILL_AT"] or 0)
        self.published = str(Path(os.environ["LIFE_STAGE_PUBLISHED"]).absolute())
        self.count, self.lock, self.looking = 0, threading.Lock(), False

    def model(self) -> str | None:
        """The watched model that this thread is running."""
        from dbt_common.events.contextvars import get_node_info

        name = (get_node_info().get("unique_id") or "").split(".")[-1]
        return name if name in self.models else None

    def reach(self, model: str, coming: str) -> None:
        """A boundary: die here, or say what a kill here would leave."""
        with self.lock:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if not self.kill_at:
                self.looking = True
                facts = {"number": self.count, "model": model, "next": coming, "on_disk": on_disk(Path(self.published))}
                self.looking = False
                print(MARK + json.dumps(facts), flush=True)

    def before_file_event(self, event: str, arguments: tuple) -> None:
        """An audit hook: every file operation of publishing is a boundary."""
        if event in FILE_EVENTS and not self.looking and (model := self.model()) is not None:
            below_an_open_folder = event in ("os.remove", "os.rmdir") and arguments[-1] != -1
            if below_an_open_folder or any(str(argument).startswith(self.published) for argument in arguments):
                self.reach(model, f"{event} {' '.join(map(str, arguments))}")

    def watch(self) -> None:
        """From now on every SQL statement of dbt's is a boundary, also within one text of several."""
        from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper

        execute = DuckDBCursorWrapper.execute

        def one_by_one(wrapper, sql, bindings=None):
            model = self.model()
            if model is None or bindings is not None:
                return execute(wrapper, sql, bindings)
            for statement in wrapper.extract_statements(sql):
                self.reach(model, statement.query.strip())
                result = execute(wrapper, statement)
            return result

        DuckDBCursorWrapper.execute = one_by_one
        sys.addaudithook(self.before_file_event)


def on_disk(published: Path) -> str:
    """Name, size and time of the warehouse's files and of all that is published: what the next run will find."""
    files = [*published.parent.glob("warehouse.duckdb*"), *published.parent.glob("published*")]
    files += published.with_name("published.sets").rglob("*")
    facts = {file: file.lstat() for file in files if file.suffix != ".lock"}
    return " ".join(sorted(f"{file.name}:{fact.st_size}:{fact.st_mtime_ns}" for file, fact in facts.items()))


if __name__ == "__main__":
    from dbt.cli.main import dbtRunner

    if os.environ["LIFE_STAGE_KILL_MODELS"]:
        Watch().watch()
    sys.exit(0 if dbtRunner().invoke(sys.argv[1:]).success else 1)
