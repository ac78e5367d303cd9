"""Is there anything new since the published run?

There is not if the project, the environment, the options, the source's files and the month are those of the run that
published. A source of tables has no files to compare, and every run builds it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from zoneinfo import ZoneInfo

import yaml

from life_stage import paths
from life_stage.mapping import FOLDER

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
    mappings = files_of(Path(os.environ.get("LIFE_STAGE_MAPPING", FOLDER)), ("*.sql",))
    for file in [*files_of(project, patterns), *mappings, *files_of(PYTHON, ("life_stage*/**/*.py",))]:
        found.update(f"{file.name} ".encode() + file.read_bytes())
    return found.hexdigest()


def files_of(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """The files of a folder that match the patterns, in a fixed order."""
    for pattern in patterns:
        yield from sorted(file for file in folder.glob(pattern) if file.is_file())


def inputs_digest(project: Path, options: Sequence[str] = ()) -> str:
    """MD5 of all that a run reads, the source's files by name, size and modification time, its options and places.

    The business month counts, because a run closes it; with consents the day, because they end on days. Empty if it is
    unknown: the source has no files, or the project cannot be read.
    """
    try:
        variables = yaml.safe_load((project / "dbt_project.yml").read_text())["vars"]
        if variables["source"]["schema"] or "source_schema" in str(options):
            return ""
        return digest_of_files(project, variables["business_timezone"], options)
    except (OSError, LookupError, TypeError, ValueError, yaml.YAMLError):
        return ""  # dbt names what is wrong


def digest_of_files(project: Path, timezone: str, options: Sequence[str]) -> str:
    """The digest of a run on files."""
    source = paths.source()
    has_consents = bool(paths.source_files("consents")[0])
    now = datetime.now(ZoneInfo(timezone))
    parts = [project_digest(project, SETTINGS + NODES), f"{now:{'%Y-%m-%d' if has_consents else '%Y-%m'}}"]
    parts += map(str, (*options, source, paths.warehouse(), paths.published()))
    for name in paths.files_within(source):
        facts = (source / name).stat() if (source / name).exists() else None
        parts.append(f"{name} {facts and (facts.st_size, facts.st_mtime_ns)}")
    return hashlib.md5("\n".join(parts).encode()).hexdigest()


def notes_of(link: Path) -> Path:
    """The file, next to the link of the published set, that holds the digest of its run."""
    return link.with_name(f"{link.name}.inputs")


def nothing_new(digest: str) -> str | None:
    """A line about the published set if a run with this digest would change nothing."""
    link = paths.published()
    try:
        known = json.loads(notes_of(link).read_text())
    except (OSError, ValueError):
        known = None
    manifest = paths.read_manifest(link)
    is_there = link.is_symlink() and manifest is not None and paths.warehouse().exists()
    if not digest or not is_there or known != {"digest": digest, "set": os.readlink(link)}:
        return None
    checked = datetime.fromtimestamp(notes_of(link).stat().st_mtime, UTC)
    return f"Nothing new since {checked:%Y-%m-%d %H:%M} UTC: {paths.shown(link)} is that of {manifest['published_at']}"


def forget() -> None:
    """Remove the note: a run begins, and if it fails, the next one has something to do."""
    notes_of(paths.published()).unlink(missing_ok=True)


def mark_published(digest: str) -> None:
    """Note the digest from before the run, with the set that is published now; without a set, nothing."""
    link = paths.published()
    if digest and link.is_symlink():
        paths.write_whole(notes_of(link), json.dumps({"digest": digest, "set": os.readlink(link)}))
