"""Publication of the marts: a new directory of Parquet files, activated by an atomic rename of a link.

Readers see a complete old or new set, never the working database. `published` is a link to the newest set in
`published.sets`; the previous set stays until the next publication, for readers that have it open. Sets share unchanged
files by hard links, so a published file is never written to. Only files that the manifest of a set names are deleted.
Tables of `life-stage serve` are in the folder `serving`, which only its owner may read. They are no marts: they have
neither views nor a place in the dictionary.
"""

import csv
import glob
import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from life_stage.engine.ledger import IN_MANIFEST, ledger_of, mark_after
from life_stage.engine.pseudonyms import key_mark, key_of
from life_stage.paths import (
    SERVING,
    is_link_to_set,
    mart_paths,
    next_link,
    published,
    read_manifest,
    sets_of,
    sql_literal,
    warehouse,
)
from life_stage.spark import on_spark

VIEW_FILE, MANIFEST = "life_stage.duckdb", "manifest.json"
DICTIONARY, DICTIONARY_COLUMNS = "dictionary.csv", ("mart", "column", "type", "description")
SMALL = ("stages", "stage_totals", "stage_interests", "model_runs")  # also as CSV, for spreadsheets
RUN_LOG = "model_runs"  # grows with every run, so its change alone does not cause a publication
KEYS = (
    "month",
    "user_id",
    "child_no",
    "stage_no",
    "stage",
    "leaf_category",
    "item_id",
    "horizon",
    "rank",
    "event_no",
    "started_at",
    "item_no",
    "type_no",
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
SCHEMA = pa.schema(
    [
        ("mart", pa.string()),
        ("path", pa.string()),
        ("n_rows", pa.int64()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("run_id", pa.string()),
    ]
)

Marts = dict[str, duckdb.DuckDBPyRelation | on_spark.Relation]
Descriptions = dict[str, dict[str, str]]


def publish(marts: Marts, options: dict[str, str], descriptions: Descriptions | None = None) -> pa.Table:
    """Publish the marts if they differ from the published ones; returns one row per published file (SCHEMA).

    options: `published` (the link's path); descriptions: from descriptions_of. An empty user_stages, which means that
    there is no model, replaces no stages; without any, the checkout alone is published. Raises as refuse_foreign and
    refuse_older.
    """
    link = published(options["published"])
    refuse_foreign(link)
    if isinstance(marts["user_stages"], on_spark.Relation):
        return on_spark.with_files(marts, link.parent, lambda files: publish(files, options, descriptions))
    columns = {
        name: [f"{c} {t}" for c, t in zip(mart.columns, mart.types, strict=True)] for name, mart in marts.items()
    }
    files, contents = split_into_files(marts)
    target = {"columns": columns, "descriptions": descriptions or {}, "contents": contents}
    target["id_key"] = key_mark(key_of(os.environ))
    manifest = read_manifest(link)
    refuse_older(link, manifest, contents)
    if is_complete(marts, manifest) and not is_published(link, manifest, target):
        runs = marts[RUN_LOG].filter("status = 'succeeded'").order("started_at desc, run_id")
        ((run_id,),) = runs.limit(1).project("run_id").fetchall()
        if (ledger := ledger_of(warehouse())).path.exists():  # not on Spark
            ledger.append([{"kind": "published", "value": run_id}])
        manifest = write_set(files, link, {"run_id": run_id, **target} | mark_after(manifest), manifest)
    if manifest is None:
        return SCHEMA.empty_table()
    if manifest.get("folder") != str(link.resolve()):
        manifest = write_views(link.resolve(), manifest)
    rows = [
        {"mart": file.split("/")[0], "path": str(link / f"{file}.parquet"), "run_id": manifest["run_id"], **facts}
        for file, facts in manifest["files"].items()
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def is_complete(marts: Marts, manifest: dict | None) -> bool:
    """False if stages are missing that were published before, or if there is neither a stage nor a recommendation."""
    if marts["user_stages"].limit(1).fetchall():
        return True
    had_stages = manifest is not None and manifest["files"].get("user_stages", {"n_rows": 0})["n_rows"] > 0
    recommended = marts.get("checkout_recommendations")
    return not had_stages and recommended is not None and bool(recommended.limit(1).fetchall())


def tables_of(session: duckdb.DuckDBPyConnection | on_spark.Session, schema: str) -> set[str]:
    """The names of the tables and views that are there; a run may leave out the evaluation."""
    if isinstance(session, on_spark.Session):
        return {table.name for table in session.spark.catalog.listTables()}
    names = "select table_name from information_schema.tables where table_schema = ?"
    return {name for (name,) in session.cursor().execute(names, [schema]).fetchall()}


def descriptions_of(marts: Marts, session: duckdb.DuckDBPyConnection | on_spark.Session, schema: str) -> Descriptions:
    """Descriptions of marts and columns: {mart: {column: description}}; key '' is the mart."""
    if isinstance(session, on_spark.Session):
        return {mart: session.descriptions(mart) for mart in marts}
    found: Descriptions = {}
    comments = """
        select table_name, '' as column_name, comment from duckdb_tables() where schema_name = $schema
        union all select view_name, '', comment from duckdb_views() where schema_name = $schema
        union all select table_name, column_name, comment from duckdb_columns() where schema_name = $schema
    """
    for mart, column, comment in session.cursor().execute(comments, {"schema": schema}).fetchall():
        if mart in marts and comment:
            found.setdefault(mart, {})[column] = " ".join(comment.split())
    return found


def refuse_foreign(link: Path, outcome: str = "nothing was published") -> None:
    """Raise ValueError LS-PUB-001 if something else has the place of the link, of the next one or of the sets."""
    sets = sets_of(link)
    taken = [place for place in (link, next_link(link)) if os.path.lexists(place) and not is_link_to_set(place, sets)]
    if os.path.lexists(sets) and not sets.is_dir():
        taken.append(sets)
    if taken:
        raise ValueError(
            f"LS-PUB-001 {taken[0]} is not a link to marts, or not their folder: move it or set LIFE_STAGE_PUBLISHED;"
            f" {outcome}"
        )


def refuse_older(link: Path, manifest: dict | None, contents: dict[str, str]) -> None:
    """Raise ValueError LS-PUB-003 if the published stages go to a later month than the new ones: after a restore."""
    there, new = (max(months_of(files), default="") for files in ((manifest or {}).get("files", {}), contents))
    if new and new < there:
        raise ValueError(
            f"LS-PUB-003 stages are published through {there}, this run has them through {new}: deliver the missing"
            f" months, publish to another LIFE_STAGE_PUBLISHED or, to go back on purpose, remove the link {link};"
            " nothing was published"
        )


def months_of(files: Iterable[str]) -> list[str]:
    """The months, YYYY-MM, of the files of user_stage_months."""
    return [
        name.removeprefix("user_stage_months/") for name in files if re.fullmatch(r"user_stage_months/[0-9-]+", name)
    ]


def split_into_files(marts: Marts) -> tuple[Marts, dict[str, str]]:
    """Rows and content hash of each Parquet file, by its path without suffix; the run log has no hash.

    A mart named `_months` is a folder with a file per month, `YYYY-MM`; without rows it has the file `none`.
    """
    files, contents = {}, {}
    for name, mart in marts.items():
        if name.endswith("_months") and not name.startswith(SERVING):
            months = mart.aggregate(f"month, {hash_sql(mart)}", "month").order("month").fetchall()
            if not months:  # there are no stages
                files[f"{name}/none"], contents[f"{name}/none"] = mart, content_hash(mart)
            for month, content in months:
                file = f"{name}/{month:%Y-%m}"
                files[file], contents[file] = mart.filter(f"month = '{month}'"), content
        else:
            files[name] = mart
            if name != RUN_LOG:
                contents[name] = content_hash(mart)
    return files, contents


def content_hash(rows: duckdb.DuckDBPyRelation) -> str:
    """Row count and order-independent hash of the rows."""
    ((content,),) = rows.aggregate(hash_sql(rows)).fetchall()
    return content


def hash_sql(rows: duckdb.DuckDBPyRelation) -> str:
    """The SQL expression of content_hash."""
    columns = ", ".join(f'"{name}"' for name in rows.columns)
    return f"concat(count(*), ' ', sum(hash({columns})))"


def is_published(link: Path, manifest: dict | None, target: dict) -> bool:
    """True if the published set has the target's columns, descriptions and contents, and its files are intact."""
    if manifest is None or any(manifest.get(key) != value for key, value in target.items()):
        return False
    return all(is_intact(link / file, sha256) for file, sha256 in digests(manifest).items())


def digests(manifest: dict) -> dict[str, str | None]:
    """{file: its digest} of the set, without the manifest itself."""
    files = {f"{name}.parquet": facts.get("sha256") for name, facts in manifest["files"].items()}
    files |= {f"{name}.csv": facts.get("csv_sha256") for name, facts in manifest["files"].items() if name in SMALL}
    return files | {DICTIONARY: manifest.get("dictionary_sha256"), VIEW_FILE: manifest.get("views_sha256")}


def is_intact(file: Path, sha256: str | None) -> bool:
    """True if the file exists and has the digest."""
    return file.exists() and sync_to_disk(file)["sha256"] == sha256


def write_set(files: Marts, link: Path, facts: dict, previous: dict | None) -> dict:
    """Write a new set next to the old one and point the link to it; returns its manifest."""
    sets = sets_of(link)
    new = sets / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{facts['run_id'][:8]}"
    keep = {new.name, link.resolve().name}
    new.mkdir(parents=True)
    if previous and previous.get("columns") != facts["columns"]:
        previous = None
    try:
        manifest = fill_set(files, new, facts, link, previous)
        swap_link(link, new)
    except BaseException:
        with suppress(OSError):
            remove_set(new)
        raise
    remove_sets(link, keep)
    return manifest


def remove_sets(link: Path, keep: set[str]) -> None:
    """Remove the sets but those of the names to keep."""
    for old in sets_of(link).glob("*/"):
        if old.name not in keep:
            remove_set(old)


def remove_set(folder: Path) -> None:
    """Remove the files that the set's manifest names, the manifest last; other files stay, with their folders."""
    manifest = read_manifest(folder, {"files": dict})
    names = [] if manifest is None else [*digests(manifest), f"{VIEW_FILE}.new", f"{VIEW_FILE}.new.wal", MANIFEST]
    for name in (f"{MANIFEST}.new", *names):
        file = folder / name
        with suppress(OSError):  # it is no file
            file.unlink(missing_ok=True)
        with suppress(OSError):  # the folder of the months, or the set, is not empty
            file.parent.rmdir()


def fill_set(files: Marts, folder: Path, facts: dict, link: Path, previous: dict | None) -> dict:
    """Write the Parquet files in key order, small marts also as CSV, the views, and last the manifest; returns it.

    Intact files with the same contents are linked from the previous set. A first manifest names the files alone, so
    that a set that was never finished can be removed.
    """
    write_manifest(folder, {"files": {name: {} for name in files}})
    unchanged = dict(previous["contents"].items() & facts["contents"].items()) if previous else {}
    written = {}
    for name, rows in files.items():
        ordered = rows.order(ordering(rows.columns))
        path = folder / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True, mode=0o700 if name.startswith(SERVING) else 0o777)
        if name in unchanged and link_intact(link / f"{name}.parquet", path, previous["files"][name]["sha256"]):
            written[name] = previous["files"][name]
        else:
            ordered.write_parquet(str(path), compression="zstd")
            written[name] = {"n_rows": rows.shape[0], **sync_to_disk(path)}
        if name in SMALL:
            path = write_csv(rows.columns, ordered.fetchall(), folder / f"{name}.csv")
            written[name] |= {f"csv_{fact}": value for fact, value in sync_to_disk(path).items()}
    path = write_csv(DICTIONARY_COLUMNS, dictionary(facts["columns"], facts["descriptions"]), folder / DICTIONARY)
    facts = {**facts, "dictionary_sha256": sync_to_disk(path)["sha256"]}
    manifest = {**facts, "published_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "files": written}
    return write_views(folder, manifest)


def ordering(columns: list[str]) -> str:
    """The columns by which a file is sorted: its key, which a table without users or items may not have in KEYS."""
    keys = [name for name in KEYS if name in columns]
    others = [] if {"user_id", "item_id"} & set(columns) else [f'"{name}"' for name in columns if name not in keys]
    return ", ".join([*keys, *others])


def write_mark(link: Path, mark: str) -> None:
    """Record the ledger that was written again in the manifest of the published set."""
    if (manifest := read_manifest(link)) is not None:
        write_manifest(link.resolve(), manifest | {IN_MANIFEST: mark})


def write_manifest(folder: Path, manifest: dict) -> None:
    """Write the manifest of a set, by an atomic rename."""
    unfinished = folder / f"{MANIFEST}.new"
    unfinished.write_text(json.dumps(manifest, indent=2))
    sync_to_disk(unfinished)
    os.replace(unfinished, folder / MANIFEST)


def link_intact(old: Path, new: Path, sha256: str) -> bool:
    """Hard-link a file with the digest, or copy it where the file system refuses links; False: it is damaged."""
    if not is_intact(old, sha256):
        return False
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)
        sync_to_disk(new)
    return True


def sync_to_disk(path: Path) -> dict[str, int | str]:
    """Write a file through to the disk; returns its size and digest."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def dictionary(columns: dict[str, list[str]], descriptions: Descriptions) -> list[tuple[str, ...]]:
    """One row per column of the marts (DICTIONARY_COLUMNS); columns: name and type, separated by a blank."""
    return [
        (mart, *column.split(" ", 1), descriptions.get(mart, {}).get(column.split(" ", 1)[0], ""))
        for mart, mart_columns in columns.items()
        if not mart.startswith(SERVING)
        for column in mart_columns
    ]


def write_csv(header: Iterable[str], rows: Iterable[tuple], path: Path) -> Path:
    """Write a CSV file for spreadsheets: with a UTF-8 mark, and formulas escaped."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([escape_formula(cell) for cell in row] for row in rows)
    return path


def escape_formula(cell: object) -> object:
    """The cell, with an apostrophe in front of a text that a spreadsheet would evaluate, also by a full-width sign."""
    is_formula = isinstance(cell, str) and unicodedata.normalize("NFKC", cell[:1]).startswith(FORMULA)
    return f"'{cell}" if is_formula else cell


def swap_link(link: Path, folder: Path) -> None:
    """Point the link at the folder atomically: readers see the old set or the new one."""
    new_link = next_link(link)
    new_link.unlink(missing_ok=True)
    new_link.symlink_to(os.path.relpath(folder, link.parent))
    os.replace(new_link, link)


def write_views(folder: Path, manifest: dict) -> dict:
    """Write the set's view file, for the folder where the set is, and the manifest with its digest; returns it.

    A database file with one view per mart and its comments, in the storage format of DuckDB 1.0. Its paths are
    absolute: DuckDB has no others that do not depend on the reader's folder.
    """
    folder = folder.resolve()
    unfinished = folder / f"{VIEW_FILE}.new"
    unfinished.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"attach {sql_literal(unfinished)} as views (storage_version 'v1.0.0')")
        for name, path in mart_paths(manifest).items():
            pattern = f"{glob.escape(str(folder))}/{path}"
            connection.execute(f"create view views.{name} as from read_parquet({sql_literal(pattern)})")
            for column, description in manifest.get("descriptions", {}).get(name, {}).items():
                target = f'column views.{name}."{column}"' if column else f"view views.{name}"
                connection.execute(f"comment on {target} is {sql_literal(description)}")
        connection.execute("detach views")
    os.replace(unfinished, folder / VIEW_FILE)
    manifest = {**manifest, "folder": str(folder), "views_sha256": sync_to_disk(folder / VIEW_FILE)["sha256"]}
    write_manifest(folder, manifest)
    return manifest
