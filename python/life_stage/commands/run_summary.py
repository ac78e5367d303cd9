"""Run summary: a JSON file next to the published link, written at every end of a run, and the command that gets it."""

import json
import os
import shlex
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from life_stage import paths
from life_stage.engine.run_log import remedy_of

EXIT_CODES = {"succeeded": 0, "unchanged": 0, "failed": 1, "not_started": 2}
NOTIFY_SECONDS = 60
FIGURES = """
    select
        strftime(through_month, '%Y-%m') as through_month, n_rows_read as rows_read, n_rows_rejected as rows_rejected,
        n_rows_repeated as duplicates, n_users as users
    from model_runs where run_id = ?
"""
COUNTS = ("rows_read", "rows_rejected", "duplicates", "users")

Summary = dict[str, Any]


@dataclass
class Run:
    """A run until its end. errors: of errors_of."""

    started_at: datetime
    set_before: str | None  # the published set
    run_id: str | None = None
    errors: list[dict[str, str]] = field(default_factory=list)
    notices: list[dict[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # by phase


def file_of(link: Path) -> Path:
    """The summary of the newest run that publishes by the link."""
    return link.with_name(f"{link.name}.run.json")


def read(link: Path) -> Summary:
    """The summary of the last run; empty without one."""
    try:
        found = json.loads(file_of(link).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def set_of(link: Path) -> str | None:
    """The published set, by its name next to the link."""
    return os.readlink(link) if link.is_symlink() else None


def figures_of(run_id: str | None) -> Summary:
    """The row of the run in model_runs; empty if there is none."""
    import duckdb

    try:
        with duckdb.connect(str(paths.warehouse()), read_only=True) as connection:
            found = connection.execute(FIGURES, [run_id])
            return dict(zip([name for name, *_ in found.description], found.fetchone() or (), strict=False))
    except duckdb.Error:
        return {}


def summary_of(run: Run, status: str, figures: Summary, last_success: Summary | None, link: Path) -> Summary:
    """The summary of a run that ends now; figures: a row of FIGURES, or empty."""
    now = datetime.now(UTC)
    manifest = paths.read_manifest(link) or {}
    seconds = {phase: round(value, 1) for phase, value in run.seconds.items()}
    if status == "succeeded":
        last_success = {
            "run_id": run.run_id,
            "finished_at": as_text(now),
            "through_month": figures.get("through_month"),
            "seconds_by_phase": seconds,
        }
    return {
        "status": status,
        "exit_code": EXIT_CODES[status],
        "errors": run.errors,
        "notices": run.notices,
        "next_action": remedy_of(run.errors[0]["message"]) if run.errors else None,
        "run_id": run.run_id,
        "started_at": as_text(run.started_at),
        "finished_at": as_text(now),
        "seconds": round((now - run.started_at).total_seconds(), 1),
        "seconds_by_phase": seconds,
        "through_month": (last_success or {}).get("through_month"),
        "counts": {name: figures.get(name) for name in COUNTS},
        "published": set_of(link) not in (None, run.set_before),
        "published_set": set_of(link),
        "published_at": manifest.get("published_at"),
        "last_success": last_success,
        "log": str(log_file()),
    }


def log_file() -> Path:
    """dbt's log."""
    return paths.resolved(os.environ.get("DBT_LOG_PATH") or "logs") / "dbt.log"


def as_text(moment: datetime) -> str:
    """A moment in UTC as text."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def write(summary: Summary, link: Path) -> str:
    """Write the summary; returns the message if it cannot be written."""
    try:
        paths.write_whole(file_of(link), json.dumps(summary, indent=2) + "\n")
    except ValueError as error:
        return str(error)
    return ""


def notify(link: Path) -> str:
    """Call the command LIFE_STAGE_NOTIFY, if any, with the summary's path; returns the message if it fails."""
    given = os.environ.get("LIFE_STAGE_NOTIFY", "")
    try:
        words = shlex.split(given)
        if words:
            subprocess.run([*words, file_of(link)], stdin=subprocess.DEVNULL, timeout=NOTIFY_SECONDS, check=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"LS-RUN-011 LIFE_STAGE_NOTIFY failed: {error}: correct the command; the run's exit code stands"
    return ""
