"""The monthly job, `life-stage run`: dbt build if there is anything new, then summary and report.

dbt runs in a process of its own, so that a job whose dbt was killed still reports it. dbt's log goes to a file; the
console has a line per phase (VERBOSE=1: the log too). Exit codes: EXIT_CODES in run_summary.py.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import yaml

from life_stage import paths
from life_stage.commands import run_summary
from life_stage.commands.progress import LABEL, Progress, duration
from life_stage.engine import unchanged
from life_stage.engine.run_log import CODED, errors_of

DBT = (sys.executable, "-c", "from dbt.cli.main import cli; cli()")
BUILD = ("build", "--warn-error", "--project-dir", ".", "--profiles-dir", ".")
LOGGED = ("--log-format", "json", "--log-format-file", "text", "--no-use-colors")
WAIT = 30  # seconds after which a phase shows that it still runs


@dataclass
class Build:
    """dbt build in a process of its own, as its log describes it."""

    run: run_summary.Run
    progress: Progress
    is_verbose: bool = False
    begun: float = field(default_factory=time.monotonic)
    printed: float = 0
    other_lines: deque[str] = field(default_factory=lambda: deque(maxlen=20))  # of the output, not of dbt's log

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.begun

    def show(self, line: str | None) -> None:
        """Print a line at once."""
        if line:
            print(line, flush=True)
            self.printed = self.now()

    def build(self, options: Sequence[str]) -> str:
        """Run dbt build to its end; returns the status of the run. An interruption ends dbt at once."""
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        words = [*DBT, *LOGGED, *BUILD, *options]
        with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as dbt:
            try:
                for line in lines_of(dbt.stdout):
                    self.read(line)
            except BaseException:
                dbt.terminate()
                with suppress(subprocess.TimeoutExpired):
                    dbt.wait(WAIT)  # it holds the warehouse until it ends
                raise
        if dbt.returncode < 0:
            self.run.errors += interrupted(-dbt.returncode)
        elif dbt.returncode and not self.run.errors:
            self.run.errors += errors_of("dbt", "", last_words(self.other_lines))
        if dbt.returncode == 0:
            return "succeeded"
        return "failed" if self.progress.phases or dbt.returncode < 0 else "not_started"

    def read(self, line: str) -> None:
        """A line of dbt's output, empty while there is none."""
        try:
            event = json.loads(line)
            info, data = event["info"], event["data"]
        except (ValueError, TypeError, KeyError):
            if line.strip():
                self.read_text(line.rstrip())
        else:
            self.run.run_id = info["invocation_id"]
            if self.is_verbose and not info["msg"].startswith("phases "):
                self.show(f"{info['ts'][11:19]}  {info['msg']}")
            self.show(self.read_event(info["name"], data, info["msg"]))
        if self.now() - self.printed > WAIT:
            self.show(self.progress.waiting(self.now()))

    def read_text(self, line: str) -> None:
        """A line that is not of dbt's log: progress of a Python model, or the text of a crash."""
        self.other_lines.append(line)
        self.notice(line)
        if self.is_verbose:
            self.show(line)

    def notice(self, text: str) -> None:
        """Show and keep a text with an error code that ends no run."""
        for code, message in CODED.findall(text):
            self.show(f"{code:<{LABEL}}{message}")
            self.run.notices.append({"code": code, "message": message})

    def read_event(self, name: str, data: Mapping[str, Any], text: str) -> str | None:
        """An event of dbt's log; returns a line to show."""
        node = data.get("node_info") or {}
        node_id = node.get("unique_id", "")
        if name == "JinjaLogInfo" and text.startswith("phases "):
            return self.progress.plan(json.loads(text.removeprefix("phases ")), self.now())
        if name == "JinjaLogInfo":
            self.notice(text)
        elif name == "LogStartLine":
            self.progress.begin(node_id, self.now())
        elif name == "RunResultError":
            self.fail(errors_of(node["node_name"], node["resource_type"], data["msg"]))
        elif name == "MainEncounteredError":
            self.fail(errors_of("dbt", "", data["exc"]))
        elif name.endswith("Result") or name.startswith(("Skipping", "LogSkip")):
            return self.progress.end(node_id, node.get("node_status") in ("success", "pass"), self.now())
        return None

    def fail(self, errors: list[dict[str, str]]) -> None:
        """Keep errors, each message once."""
        known = {error["message"] for error in self.run.errors}
        self.run.errors += [error for error in errors if error["message"] not in known]


def last_words(lines: Sequence[str]) -> str:
    """What dbt says of wrong words, or the class of the exception that ended it, whose text may hold values."""
    last = lines[-1] if lines else ""
    return last if last.startswith("Error: ") else last.partition(":")[0]


def lines_of(stream: IO[bytes]) -> Iterator[str]:
    """The lines of a stream as they come; an empty one after each second without any."""
    found: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        with suppress(ValueError):  # closed after an interruption
            for line in stream:
                found.put(line)
        found.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = found.get(timeout=1)
        except queue.Empty:
            yield ""
            continue
        if line is None:
            return
        yield line.decode(errors="replace")


def interrupt(number: int, frame: object) -> None:
    """Handle a signal as Ctrl-C is handled."""
    raise KeyboardInterrupt(number)


def interrupted(number: int) -> list[dict[str, str]]:
    """The error of a run that a signal ended."""
    name = signal.Signals(number).name
    return errors_of(
        "dbt",
        "",
        f"LS-RUN-007 the run was ended by {name}: repeat it"
        + " with more memory or a lower LIFE_STAGE_MEMORY" * (number == signal.SIGKILL)
        + "; finished months are not built again",
    )


def job(build: Build, options: Sequence[str], always: bool) -> str:
    """Run the job; returns its status."""
    digest = unchanged.inputs_digest(Path.cwd(), options)
    if not always and (line := unchanged.nothing_new(digest)):
        print(line)
        return "unchanged"
    unchanged.forget()
    status = build.build(options)
    if status == "succeeded":
        describe(build)
        if build.run.errors:
            return "failed"
        unchanged.mark_published(digest)
    return status


def describe(build: Build) -> None:
    """Print the summary and write the report. What fails here is an error of the run; the published set stands."""
    from life_stage.commands import summary
    from life_stage.report import report

    begun = build.now()
    for command in (summary, report):
        try:
            command.main()
        except SystemExit as error:
            build.fail(errors_of(command.__name__, "", str(error)))
        except Exception as error:
            build.fail(errors_of(command.__name__, "", message_of(error)))
    build.progress.seconds["report"] = build.now() - begun


def message_of(error: Exception) -> str:
    """An error's message if it has a code; else its class, whose traceback is printed: its text may hold values."""
    if CODED.search(str(error)):
        return str(error)
    traceback.print_exception(error)
    return type(error).__name__


def vars_within(options: Sequence[str]) -> dict[str, object]:
    """The vars in options of dbt; none if dbt would not read them."""
    with suppress(StopIteration, ValueError, TypeError, yaml.YAMLError):
        words = iter(options)
        next(word for word in words if word == "--vars")
        return dict(yaml.safe_load(next(words)))
    return {}


def failure(summary: run_summary.Summary) -> str:
    """The last lines of a failed run: its errors, where the log is, what is published, and the next action."""
    ended = "FAILED" if summary["status"] == "failed" else "NOT STARTED"
    lines = [f"{ended:<{LABEL}}after {duration(summary['seconds'])}, exit code {summary['exit_code']}"]
    for error in summary["errors"]:
        at = "" if error["node"] in ("dbt", *error["message"].split()) else f"{error['node']}: "
        lines.append(f"{error['code']:<{LABEL}}{at}{error['message']}")
    stands = f"the set of {summary['published_at']} stands" if summary["published_at"] else "nothing yet"
    if summary["published"]:
        stands = f"by this run, at {summary['published_at']}"
    lines.append(f"{'Published':<{LABEL}}{stands}")
    lines.append(f"{'Log':<{LABEL}}{paths.shown(Path(summary['log']))}")
    return "\n".join([*lines, f"{'Next':<{LABEL}}{summary['next_action']}"])


def report_failure(summary: run_summary.Summary) -> None:
    """Write the report with the failure as an alarm, where there is a report; one that cannot be written stays."""
    from life_stage.commands.summary import is_simulated
    from life_stage.report import report

    file, error = paths.report(), summary["errors"][0]
    alarm = f"newest run {summary['status'].replace('_', ' ')}: {error['code']} {error['message']}"
    if file.exists():
        with suppress(Exception):
            report.write(paths.warehouse(), file, is_simulated(paths.source()), alarm)


def main(options: Sequence[str] = (), always: bool = False) -> int:
    """Run the job, write its summary and notify; returns the exit code."""
    link = paths.published()
    last_success = run_summary.read(link).get("last_success")
    run = run_summary.Run(datetime.now(UTC), run_summary.set_of(link))
    progress = Progress((last_success or {}).get("seconds_by_phase", {}))
    build = Build(run, progress, is_verbose=os.environ.get("VERBOSE") == "1")
    if not paths.warehouse().exists():
        # Loads duckdb, which a run with nothing new does without.
        from life_stage.commands.preview import missing_labels

        build.notice(missing_labels(**vars_within(options)) or "")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        status = job(build, options, always)
    except KeyboardInterrupt as error:
        status = "failed"
        build.fail(interrupted(*error.args or [signal.SIGINT]))
    except Exception as error:  # a full disk
        status = "failed"
        build.fail(errors_of("life-stage run", "", message_of(error)))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # too late
        signal.signal(number, signal.SIG_IGN)
    run.seconds = progress.seconds
    figures = run_summary.figures_of(run.run_id) if status == "succeeded" else {}
    summary = run_summary.summary_of(run, status, figures, last_success, link)
    if run.errors:
        print(failure(summary), flush=True)
        report_failure(summary)
    for message in (run_summary.write(summary, link), run_summary.notify(link)):
        if message:
            print(message, file=sys.stderr)
    return summary["exit_code"]
