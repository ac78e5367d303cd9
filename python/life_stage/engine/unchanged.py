"""Is there anything new since the published run? python -m life_stage.engine.unchanged [--published]

Ends with 0 and a line if the project, the environment, the source's files and the month are those of the run that
published; else with 1, and notes them for that run. --published, after the run, makes the notes those of the published
set. A source of tables has no files to compare, and every run builds it.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from zoneinfo import ZoneInfo

import yaml

from life_stage import paths

PYTHON = Path(__file__).parents[2]
PACKAGES = ("dbt-core", "dbt-duckdb", "duckdb", "numpy", "pandas", "scikit-learn", "scipy")
SETTINGS = ("dbt_project.yml", "profiles.yml", "macros/**/*.sql", "models/**/*.yml", "models/**/*.md", "tests/**/*.yml")
NODES = ("models/**/*.sql", "models/**/*.py", "tests/**/*.sql", "seeds/**/*.csv")


def project_digest(project: Path, patterns: Iterable[str] = SETTINGS) -> str:
    """MD5 of the project's files by `patterns`, its Python modules, the packages' versions and the target.

    Without the key for user ids, which a digest would reveal.
    """
    target = os.environ.get("LIFE_STAGE_TARGET", "duckdb")
    found = hashlib.md5(repr([target, [(name, version(name)) for name in PACKAGES]]).encode())
    for file in [*files_of(project, patterns), *files_of(PYTHON, ("life_stage*/**/*.py",))]:
        found.update(f"{file.name} ".encode() + file.read_bytes())
    return found.hexdigest()


def files_of(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """The files of a folder that match the patterns, in a fixed order."""
    for pattern in patterns:
        yield from sorted(file for file in folder.glob(pattern) if file.is_file())


def inputs_digest(project: Path, variables: dict[str, str]) -> str:
    """MD5 of all that a run reads, the source's files by name, size and modification time, and of its places.

    The business month counts, because a run closes it; with consents the day, because they end on days.
    """
    source = paths.source()
    has_consents = any(source.glob("consents*"))
    now = datetime.now(ZoneInfo(variables["business_timezone"]))
    parts = [project_digest(project, SETTINGS + NODES), f"{now:{'%Y-%m-%d' if has_consents else '%Y-%m'}}"]
    parts += map(str, (source, paths.warehouse(), paths.published()))
    for name in paths.files_within(source):
        facts = (source / name).stat() if (source / name).exists() else None
        parts.append(f"{name} {facts and (facts.st_size, facts.st_mtime_ns)}")
    return hashlib.md5("\n".join(parts).encode()).hexdigest()


def notes_of(link: Path, suffix: str = "") -> Path:
    """The file, next to the link of the published set, that holds the digest of its run."""
    return link.with_name(f"{link.name}.inputs{suffix}")


def nothing_new(project: Path) -> str | None:
    """A line about the published set if a run would change nothing; else None, and the digest is noted."""
    variables = yaml.safe_load((project / "dbt_project.yml").read_text())["vars"]
    link, digest = paths.published(), inputs_digest(project, variables)
    try:
        known = json.loads(notes_of(link).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        known = None
    manifest = paths.read_manifest(link)
    is_there = link.is_symlink() and manifest is not None and paths.warehouse().exists()
    if is_there and not variables["source"]["schema"] and known == {"digest": digest, "set": os.readlink(link)}:
        checked = datetime.fromtimestamp(notes_of(link).stat().st_mtime, UTC)
        return (
            f"Nothing new since {checked:%Y-%m-%d %H:%M} UTC: {paths.shown(link)} is that of {manifest['published_at']}"
        )
    link.parent.mkdir(parents=True, exist_ok=True)
    notes_of(link, ".pending").write_text(digest)
    return None


def mark_published() -> None:
    """Keep the digest from before the run, with the set that is published now; without either, nothing."""
    link = paths.published()
    pending = notes_of(link, ".pending")
    if pending.exists() and link.is_symlink():
        pending.write_text(json.dumps({"digest": pending.read_text(), "set": os.readlink(link)}))
        os.replace(pending, notes_of(link))


def main() -> None:
    """Command line."""
    if "--published" in sys.argv:
        mark_published()
    elif line := nothing_new(Path.cwd()):
        print(line)
    else:
        sys.exit(1)


if __name__ == "__main__":
    main()
