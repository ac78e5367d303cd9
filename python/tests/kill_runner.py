"""Runner that kills dbt before a given step of a model.

LIFE_STAGE_KILL_MODELS names the models to watch, or "operation": every SQL statement they issue, BEGIN and COMMIT
included, and every file operation on the ledger and below LIFE_STAGE_PUBLISHED is a boundary. LIFE_STAGE_KILL_AT=n
kills the process before the n-th; without it, each boundary is printed with the files that a kill there would leave.
LIFE_STAGE_KILL_FUNCTION, such as "after life_stage.operations.erasure.unpublish", kills it before or after a call.
"""

import importlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

MARK = "boundary "
FILE_EVENTS = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "shutil.copyfile"}


def run(shop, *words: str, watch: str = "", kill_at: int | None = None) -> list[dict]:
    """Run one dbt command in the shop's folder; returns the boundaries it passed: number, model, next, on_disk."""
    hook = {"LIFE_STAGE_KILL_MODELS": watch, "LIFE_STAGE_KILL_AT": str(kill_at or "")} if watch else {}
    finished = shop.dbt(*words, environment=hook)
    wanted = 0 if kill_at is None else -signal.SIGKILL
    assert finished.exit_code == wanted, f"{words} ended with {finished.exit_code}\n{finished.output[-5000:]}"
    lines = finished.output.splitlines()
    return [json.loads(line.removeprefix(MARK)) for line in lines if line.startswith(MARK)]


def die_at(moment: str, name: str) -> None:
    """Kill the process before or after it calls a function, given by module and name."""
    module_name, _, function = name.rpartition(".")
    module = importlib.import_module(module_name)
    call = getattr(module, function)

    def call_and_die(*arguments: object) -> None:
        if moment == "after":
            call(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, function, call_and_die)


class Watch:
    """Counter of the boundaries of the watched models, which kills the process at the given one."""

    def __init__(self) -> None:
        self.models = os.environ["LIFE_STAGE_KILL_MODELS"].split()
        self.kill_at = int(os.environ["LIFE_STAGE_KILL_AT"] or 0)
        self.published = str(Path(os.environ["LIFE_STAGE_PUBLISHED"]).absolute())
        self.places = (self.published, str(Path(os.environ["LIFE_STAGE_WAREHOUSE"]).absolute()) + ".ledger")
        self.count, self.lock, self.looking = 0, threading.Lock(), False

    def model(self) -> str | None:
        """The watched model that this thread is running, "operation" without one."""
        from dbt_common.events.contextvars import get_node_info

        name = get_node_info().get("unique_id", "operation").split(".")[-1]
        return name if name in self.models else None

    def reach(self, model: str, coming: str) -> None:
        """Kill the process at this boundary, or print the files that a kill would leave."""
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
        """An audit hook: every file operation of publishing and of the ledger is a boundary."""
        if event in FILE_EVENTS and not self.looking and (model := self.model()) is not None:
            below_an_open_folder = event in ("os.remove", "os.rmdir") and arguments[-1] != -1
            if below_an_open_folder or any(str(argument).startswith(self.places) for argument in arguments):
                self.reach(model, f"{event} {' '.join(map(str, arguments))}")

    def watch(self) -> None:
        """From now on every SQL statement of dbt's is a boundary, also within one text of several."""
        from dbt.adapters.duckdb.environments.local import DuckDBCursorWrapper

        execute = DuckDBCursorWrapper.execute

        def one_by_one(wrapper, sql, bindings=None):
            model = self.model()
            if model is None:
                return execute(wrapper, sql, bindings)
            if bindings is not None:
                self.reach(model, sql.strip())
                return execute(wrapper, sql, bindings)
            for statement in wrapper.extract_statements(sql):
                self.reach(model, statement.query.strip())
                result = execute(wrapper, statement)
            return result

        DuckDBCursorWrapper.execute = one_by_one
        sys.addaudithook(self.before_file_event)


def on_disk(published: Path) -> str:
    """Name, size and time of the warehouse's files and the published files, as the next run finds them."""
    files = [*published.parent.glob("warehouse.duckdb*"), *published.parent.glob("published*")]
    files += published.with_name("published.sets").rglob("*")
    facts = {file: file.lstat() for file in files if file.suffix != ".lock"}
    return " ".join(sorted(f"{file.name}:{fact.st_size}:{fact.st_mtime_ns}" for file, fact in facts.items()))
