"""Places of a run: the source and its files, the warehouse, the published set and its manifest.

A place is resolved once, here: `~`, `.`, `..` and links. Names of source files are relative to the source.
"""

import glob
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import yaml

from life_stage.mapping import mapping_of

SOURCE, WAREHOUSE, PUBLISHED = "data/demo", "warehouse/life_stage.duckdb", "published"  # the defaults
FORMATS = (".parquet", ".csv", ".csv.gz")
PACKAGE = "life_stage"  # name of this project
SERVING = "serving/"  # folder in a set of the tables that life-stage serve reads
MAX_LINKS = 40  # from link to link, as in Linux
UMASK = 0o027  # new files are read by their owner and its group at most
FACTS = {"run_id": str, "published_at": str, "columns": dict, "contents": dict, "files": dict}  # of a manifest


def resolved(place: str | Path) -> Path:
    """The place without `~`, `.`, `..` and links; it need not exist."""
    return Path(os.path.realpath(os.path.expanduser(place)))


def shown(place: Path) -> str:
    """The place for a reader: relative to the current folder if it lies there."""
    return str(place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place)


@cache
def is_host(folder: Path) -> bool:
    """Whether a folder has another dbt project, which has this one as a package."""
    file = folder / "dbt_project.yml"
    return file.exists() and (yaml.safe_load(file.read_text("utf-8")) or {}).get("name", PACKAGE) != PACKAGE


def source() -> Path:
    """Source folder: LIFE_STAGE_SOURCE."""
    return resolved(os.environ.get("LIFE_STAGE_SOURCE") or SOURCE)


def warehouse() -> Path:
    """Warehouse file: LIFE_STAGE_WAREHOUSE."""
    return resolved(os.environ.get("LIFE_STAGE_WAREHOUSE") or WAREHOUSE)


def published(given: str | Path = "") -> Path:
    """Link to the published set, LIFE_STAGE_PUBLISHED or the given one; a link to it is followed."""
    link = Path(os.path.expanduser(given or os.environ.get("LIFE_STAGE_PUBLISHED") or PUBLISHED))
    for _ in range(MAX_LINKS):
        link = resolved(link.parent) / link.name
        if is_link_to_set(link) or not link.is_symlink() or not (link.parent / link.readlink()).is_symlink():
            break
        link = link.parent / link.readlink()
    return link


def sets_of(link: Path) -> Path:
    """The folder of published sets, next to the link."""
    return link.with_name(link.name + ".sets")


def next_link(link: Path) -> Path:
    """The link to a new set, until it replaces the link."""
    return link.with_name(link.name + ".new")


def is_link_to_set(link: Path, sets: Path | None = None) -> bool:
    """True for a link into the folder of sets, by default its own, whether the set exists or not."""
    return link.is_symlink() and resolved(link.parent / link.readlink().parent) == resolved(sets or sets_of(link))


def source_directory() -> str:
    """The source as text; an address, such as s3a://..., as given."""
    given = os.environ.get("LIFE_STAGE_SOURCE") or SOURCE
    return given.rstrip("/") if "://" in given else str(source())


def source_identity() -> dict[str, str]:
    """The absolute path of the source, also through links, and its real path: facts in project_state."""
    given = os.environ.get("LIFE_STAGE_SOURCE") or SOURCE
    absolute = given.rstrip("/") if "://" in given else os.path.abspath(os.path.expanduser(given))
    return {"source_path": absolute, "source_real_path": source_directory()}


def files_within(folder: Path, name: str = "", seen: set[str] | None = None) -> Iterator[str]:
    """Names of the files in `folder/name`, through links, or that file itself; hidden ones and `_name` are left out.

    A file or folder that is reached twice counts once, by a link only if there is no other way.
    """
    seen = set() if seen is None else seen
    place = os.path.realpath(folder / name)
    if place in seen:
        return
    seen.add(place)
    if not os.path.isdir(place):
        yield name
        return
    for entry in sorted(os.scandir(place), key=lambda entry: (entry.is_symlink(), entry.name)):
        if not entry.name.startswith((".", "_")):
            yield from files_within(folder, os.path.join(name, entry.name), seen)


def source_files(table: str, folder: Path | None = None) -> tuple[list[str], list[str]]:
    """Names of a table's data files, and what is wrong with them.

    They are those of its mapping, else <table>/ with all its folders, <table>.parquet and <table>.csv.
    """
    folder, found, seen = folder or source(), [], set()
    try:
        if mapping := mapping_of(table):
            found += filter(mapping.matches, files_within(folder) if folder.is_dir() else ())
        for top in () if mapping else names_in(folder):
            if top == table or (top.startswith(f"{table}.") and not (folder / top).is_dir()):
                found += files_within(folder, top, seen)
    except OSError as error:
        return [], [f"LS-SRC-004 {error.filename} cannot be listed: make it readable ({error.strerror})"]
    except ValueError as error:  # of the mapping
        return [], [str(error)]
    return sorted(found), [message for name in sorted(found) if (message := unreadable(folder, name))]


def files_in_folders_like(table: str) -> list[str]:
    """Names of files in folders whose names begin like a table's, such as Spark's consents.parquet: never read."""
    tops = [top for top in names_in(source()) if top.startswith(table) and (source() / top).is_dir()]
    return [name for top in tops for name in files_within(source(), top)]


def names_in(folder: Path) -> list[str]:
    """Names in a folder, in order; none if there is no folder."""
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def unreadable(folder: Path, name: str) -> str:
    """The message about a file that is no data file; empty if it is one."""
    if not (folder / name).exists():
        return f"LS-SRC-004 {name} is a link to nothing: restore the file that it names, or remove the link"
    if not (folder / name).is_file() or not name.lower().endswith(FORMATS):
        return f"LS-SRC-004 {name} is neither Parquet nor CSV: remove it from the source or convert it"
    return "" if is_utf8(name) else f"LS-SRC-004 {name!a} is not a name in UTF-8: rename it"


def is_utf8(name: str) -> bool:
    """True unless the name has bytes that are no UTF-8."""
    return name == name.encode(errors="replace").decode()


def links_to(names: Iterable[str], folder: Path) -> list[str]:
    """The links, as names in the folder, that lead to its files of these names."""
    places = {str(place) for name in names for place in (Path(name), *Path(name).parents)}
    return sorted(place for place in places if (folder / place).is_symlink())


def file_version(place: Path) -> str:
    """Size and modification time, in microseconds of whole seconds; a file that is gone has none."""
    try:
        facts = place.stat()
    except OSError:
        return "gone"
    return f"{facts.st_size} {int(facts.st_mtime) * 1_000_000}"


def file_versions(names: Iterable[str]) -> dict[str, str]:
    """{name: version} of files of the source."""
    folder = source()
    return {name: file_version(folder / name) for name in names}


def source_patterns(names: Iterable[str]) -> list[str]:
    """The files of the source as patterns of DuckDB that match them alone."""
    folder = source()
    return [glob.escape(str(folder / name)) for name in names]


def sql_literal(text: Path | str) -> str:
    """The text as an SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def keep_private() -> None:
    """Let files that are created from now on be readable as UMASK allows, or less if the caller's umask is stricter."""
    os.umask(os.umask(UMASK) | UMASK)


def write_whole(file: Path, text: str, mode: int = 0o666) -> None:
    """Write a file by an atomic rename: readers see the old text or the new one. mode: as the umask allows.

    Raises ValueError LS-RUN-010 if it cannot be written.
    """
    new = file.with_name(f"{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with open(new, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, mode)) as target:
            target.write(text)
        os.replace(new, file)
    except OSError as error:
        raise ValueError(
            f"LS-RUN-010 {file} cannot be written: {error}: make its folder writable, or free disk space"
        ) from None


def copies_note(warehouse: Path) -> Path:
    """The list of the warehouse's backups, a path a line."""
    return warehouse.with_name(warehouse.name + ".backups")


def copies_of(warehouse: Path) -> list[Path]:
    """The backups in the list, whether they are finished and still there or not."""
    note = copies_note(warehouse)
    return [Path(line) for line in note.read_text(encoding="utf-8").splitlines()] if note.exists() else []


def unfinished(copy: Path) -> Path:
    """The file that becomes a copy by a rename once it is complete."""
    return copy.with_name(copy.name + ".unfinished")


def report() -> Path:
    """The report's place, next to LIFE_STAGE_PUBLISHED."""
    link = published()
    return link.with_name(f"{link.name}.html")


def read_manifest(link: Path, facts: Mapping[str, type] = FACTS) -> dict | None:
    """The manifest of a set, with the types of these facts; None if it is missing, unreadable or lacks one."""
    try:
        manifest = json.loads((link / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(name), kind) for name, kind in facts.items()):
        return None
    of_file = {"n_rows", "sha256"} if facts == FACTS else set()
    files = manifest["files"].values()
    return manifest if all(isinstance(file, dict) and of_file <= file.keys() for file in files) else None


def mart_paths(manifest: dict) -> dict[str, str]:
    """{mart: its Parquet file in the set, or the pattern of its files by month}, without the tables of the service."""
    marts = [name for name in manifest["columns"] if not name.startswith(SERVING)]
    return {n: f"{n}.parquet" if n in manifest["files"] else f"{n}/*.parquet" for n in marts}
