"""Writes mappings for files or tables of a shop: a layout of python/life_stage/layouts, or one proposed by columns.

A layout is a folder of mappings with names such as {log} in place of patterns. It fits if its SQL can be run on files
or tables with these columns. A proposal takes columns whose names, and values, look like those of the data contract.
"""

import glob
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product
from os.path import commonprefix
from pathlib import Path
from shlex import quote

import duckdb

from life_stage import paths
from life_stage.commands.preview import preview
from life_stage.engine.contract import TABLES, columns_of, engine, rows_of
from life_stage.engine.project_macros import SYNONYMS, project_macros
from life_stage.engine.source_tables import identifier, opened_tables
from life_stage.mapping import COLUMNS, FILES, FOLDER, NAMES, by_letters, without_comments
from life_stage.paths import sql_literal

LAYOUTS = Path(__file__).parents[1] / "layouts"
N_SAMPLED = 1000
TABLE = re.compile(r"\w+(\.\w+){1,2}")
SOURCE_FILE = re.compile(r",\s*(\w+\.)?source_file\b")
N_NAMED = 5  # groups of files in a message
# The columns of a table in the order in which they choose, and those that it needs.
OF_TABLE = {
    "actions": "user_id occurred_at action item_id action_id search_term quantity price session_id device"
    " dwell_seconds",
    "items": "item_id title category leaf_category brand size properties price",
    "children": "user_id birth_date child_no registered_at",
}
NEEDED = {"actions": {"user_id", "occurred_at", "item_id"}, "items": {"item_id"}, "children": {"user_id", "birth_date"}}


class Group:
    """Files with the same columns, or some of them: their pattern and columns with types."""

    def __init__(self, files: list[str], columns: dict[str, str], others: list[str]):
        self.files, self.columns = files, columns
        self.has_header = not any(re.fullmatch(r"-?[0-9][0-9.]*", name) for name in columns)
        start, end = commonprefix(files), commonprefix([name[::-1] for name in files])[::-1]  # noqa: RUF071 (letters)
        # Without the digits of dates, so that it matches next month's file; with them if it then matches others.
        shorter = re.sub(r"[\d/_=.-]*$", "", start), re.sub(r"^[\d_=-]*", "", end)
        patterns = [glob.escape(first) + "*" + glob.escape(last) for first, last in (shorter, (start, end))]
        caught = [[name for name in others if fnmatchcase(name, pattern)] for pattern in patterns]
        self.pattern, caught = (patterns[0], []) if not caught[0] else (patterns[1], caught[1])
        if len(files) == 1:
            self.pattern = glob.escape(files[0])
        if len(files) > 1 and caught:
            raise ValueError(
                f"LS-MAP-002 the pattern {self.pattern} of {len(files)} files also matches {caught[0]}, which has other"
                " columns: put them into folders of their own"
            )

    @property
    def named(self) -> str:
        """The columns for a message, without a header row's values where it has values in place of names."""
        is_named = all(re.fullmatch(r"[^\W\d][\w .:/-]{0,39}", name) for name in self.columns)
        return ", ".join(self.columns) if is_named else f"{len(self.columns)} columns, whose names look like values"

    @property
    def literal(self) -> str:
        """The name of the group in the SQL of a mapping."""
        return sql_literal(self.pattern)

    def sample(self, sql: str) -> list[tuple]:
        """The rows of a query on the rows of the group, which stand for {rows} in it."""
        return engine().sql(sql.format(rows=rows_of(self.files))).fetchall()

    def relation(self, names: list[str]) -> str:
        """SQL of an empty table with the columns."""
        known = names or list(self.columns)
        types = ["VARCHAR"] * len(known) if names else list(self.columns.values())
        columns = [f"cast(null as {t}) as {identifier(name)}" for name, t in zip(known, types, strict=True)]
        return f"select {', '.join(columns)}, '' as source_file where false"


class Table(Group):
    """A table, as a group of its own. Raises ValueError LS-SRC-001 if it does not exist."""

    def __init__(self, name: str, connection: duckdb.DuckDBPyConnection):
        try:
            described = connection.sql(f"describe from {name}").fetchall()
        except duckdb.CatalogException:
            raise ValueError(
                f"LS-SRC-001 table {name} does not exist: name tables of {paths.shown(paths.warehouse())}, or of a"
                " database that profiles.yml attaches"
            ) from None
        self.pattern, self.files, self.has_header, self.connection = name, [], True, connection
        self.columns = {column.lower(): type_name for column, type_name, *_ in described}

    @property
    def literal(self) -> str:
        """Its name, without quotes."""
        return self.pattern

    def sample(self, sql: str) -> list[tuple]:
        """The rows of a query on the table, which stands for {rows} in it."""
        return self.connection.sql(sql.format(rows=f"from {self.pattern}")).fetchall()


def groups_of(files: Iterable[str]) -> list[Group]:
    """The data files by their columns; those with fewer of the same columns belong to the larger group."""
    files, found = [name for name in files if name.lower().endswith(paths.FORMATS)], defaultdict(list)
    for file, columns in columns_of(files, ()).items():
        if not columns:
            raise ValueError(f"LS-SRC-006 {file} cannot be read: deliver it again, complete and in UTF-8")
        found[tuple(name for name, _ in columns)].append((file, dict(columns)))
    merged: list[tuple[dict[str, str], list[str]]] = []
    for names in sorted(found, key=len, reverse=True):
        # Those of an older export lack a few of its columns, if any.
        fitting = [group for group in merged if set(names) <= group[0].keys() and 2 * len(names) > len(group[0])]
        if fitting:
            fitting[0][1].extend(file for file, _ in found[names])
        else:
            merged.append((found[names][0][1], [file for file, _ in found[names]]))
    return [Group(sorted(names), columns, [f for f in files if f not in names]) for columns, names in merged]


def layouts() -> Iterator[tuple[str, dict[str, str]]]:
    """Each layout with its texts by table. A file <table>.<variant>.sql makes a further layout with this text."""
    for folder in sorted(LAYOUTS.iterdir()):
        texts = {file.stem: file.read_text("utf-8") for file in sorted(folder.glob("*.sql"))}
        variants = [name for name in texts if "." in name]
        common = {table: text for table, text in texts.items() if table not in variants}
        if common:
            yield folder.name, common
        for name in variants:
            table, _, variant = name.partition(".")
            yield f"{folder.name}_{variant}", common | {table: texts[name]}


def fitted(texts: dict[str, str], groups: list[Group]) -> dict[str, str] | None:
    """The texts of a layout with the patterns of the groups that they can be run on; None if there are none."""
    roles = {table: {role for _, role in FILES.findall(text)} for table, text in texts.items()}
    possible = {
        role: [
            group
            for group in groups
            if all(can_run(texts[table], {role: group}) for table in texts if roles[table] == {role})
        ]
        for role in sorted(set().union(*roles.values()))
    }
    for chosen in product(*possible.values()):
        by_role = dict(zip(possible, chosen, strict=True))
        if all(can_run(texts[table], by_role) for table in texts if len(roles[table]) > 1):
            return {table: filled(text, by_role) for table, text in texts.items()}
    return None


def filled(text: str, by_role: dict[str, Group]) -> str:
    """The SQL of a layout with the groups' names; rows of a table name no file."""
    for role, group in by_role.items():
        text = text.replace(f"'{role}'", group.literal)
    return SOURCE_FILE.sub("", text) if any(isinstance(group, Table) for group in by_role.values()) else text


def can_run(text: str, by_role: dict[str, Group]) -> bool:
    """True if the SQL can be run on empty tables with the columns of the groups."""
    names = [name.strip() for found in COLUMNS.findall(text) for name in found.split(",")]
    used = [group for role, group in by_role.items() if role in text]
    if any(group.has_header == bool(names) or (names and len(names) != len(group.columns)) for group in used):
        return False
    sql = FILES.sub(lambda found: f"{found[1]} ({by_role[found[2]].relation(names)})", without_comments(text))
    try:
        engine().sql(f"describe {sql}")
    except duckdb.Error:
        return False
    return True


def proposed(groups: list[Group]) -> dict[str, str]:
    """Mappings by the names of columns; without actions if no group has users, items and times."""
    found = {}
    for table in TABLES:
        fits = [(choice, group) for group in groups if (choice := chosen_columns(table, group))]
        if fits:
            choice, group = max(fits, key=lambda fit: len(fit[0]))
            found[table] = text_of(table, choice, group)
    return found


def chosen_columns(table: str, group: Group) -> dict[str, str]:
    """{column of the contract: SQL} of a group's columns; empty if a required one is missing."""
    by_name = by_letters(group.columns)
    choice: dict[str, str] = {}
    for column in OF_TABLE[table].split():
        for name in (by_name[known] for known in NAMES[column] if known in by_name):
            quoted = identifier(name)
            if quoted not in choice.values() or column == "leaf_category":
                choice[column] = quoted
                break
    is_weak = by_name.get("type") or by_name.get("activity")
    if table == "actions" and choice.get("action") == identifier(is_weak or "") and not names_actions(is_weak, group):
        del choice["action"]
    if not NEEDED[table] <= choice.keys():
        return {}
    if table == "actions":
        choice.setdefault("action", "'purchase'")
    if table == "items":
        choice.setdefault("leaf_category", choice.get("category", "cast(null as varchar)"))
    return choice


def names_actions(column: str, group: Group) -> bool:
    """True if most values of a sample are words of actions."""
    ((share,),) = group.sample(f"""
        select coalesce(avg(case when synonyms.word is not null then 1.0 else 0.0 end), 0)
        from
            (
                select {identifier(column)} as action from ({{rows}}) limit {N_SAMPLED}
            ) as raw_actions
        left join {SYNONYMS} as synonyms on {project_macros()["is_action_word"]()}
    """)
    return share > 0.5


def text_of(table: str, choice: dict[str, str], group: Group) -> str:
    """A mapping of these columns; one row an item, since logs name items in every row."""
    end = ""
    if table == "items":
        key = choice["item_id"]
        is_column = {column: sql != key and sql.startswith('"') for column, sql in choice.items()}
        choice = {column: f"max({sql})" if is_column[column] else sql for column, sql in choice.items()}
        end = f"\ngroup by {key}"
    lines = [f"    {sql} as {column}" for column, sql in choice.items()]
    lines += ["    source_file"] * (table == "actions" and not isinstance(group, Table))
    select = ",\n".join(lines)
    return f"-- Proposed by the names of the columns: check each.\nselect\n{select}\nfrom {group.literal}{end}\n"


def write_mappings(folder: Path, groups: list[Group], is_forced: bool = False) -> tuple[str, list[Path]]:
    """Write mappings for files or tables of the source into the folder; (the layout or `proposed`, the mappings).

    Raises ValueError LS-MAP-001 if nothing fits, LS-MAP-003 if a mapping is there already.
    """
    found = [(name, texts) for name, layout in layouts() if (texts := fitted(layout, groups))]
    # Of two layouts, the one that reads more of the columns.
    name, texts = max(found, key=lambda fit: len("".join(fit[1].values()))) if found else ("proposed", proposed(groups))
    if "actions" not in texts and any(not group.has_header for group in groups):
        raise ValueError(
            f"LS-MAP-004 files of {paths.source()} have no header row: write {folder}/actions.sql by hand, with a line"
            " `-- columns:` that names their columns"
        )
    if "actions" not in texts:
        columns = "; ".join(f"{group.pattern}: {group.named}" for group in groups[:N_NAMED])
        columns = columns or f"no data files in {paths.source()}"
        columns += "; ..." * (len(groups) > N_NAMED)
        raise ValueError(
            f"LS-MAP-001 no file or table has columns like user_id, occurred_at and item_id ({columns}):"
            f" write {folder}/actions.sql by hand, as docs/data_contract.md shows"
        )
    texts |= {table: text for table, text in proposed(groups).items() if table not in texts and table != "items"}
    written = []
    for table in texts:
        file = folder / f"{table}.sql"
        if file.exists() and not is_forced:
            raise ValueError(f"LS-MAP-003 {file} exists: remove it, or replace it by --force")
        written.append(file)
    folder.mkdir(parents=True, exist_ok=True)
    for file in written:
        paths.write_whole(file, texts[file.stem])
    return name, written


def main(
    words: Sequence[str], into: Path | None = None, is_forced: bool = False, given: Mapping[str, object] | None = None
) -> int:
    """Write the mappings of files or tables, print the preview; given: vars. Returns 1 if something is wrong."""
    folder = (into or Path(os.environ.get("LIFE_STAGE_MAPPING") or FOLDER)).expanduser()
    os.environ["LIFE_STAGE_MAPPING"] = str(folder)
    places = [word for word in words if not is_table(word)]
    try:
        if not places:
            given = {"source_schema": words[0].split(".")[-2], **(given or {})}
            layout, written = map_tables(folder, words, is_forced)
        else:
            layout, written = map_files(folder, [paths.resolved(place) for place in words], is_forced)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    print(f"layout    {layout}")
    print(f"wrote     {', '.join(map(str, written))}")
    found = preview(**(given or {}))
    print("\n".join(found.lines()))
    print(f"next      {' '.join(next_words(folder, bool(places), given or {}))}")
    return bool(found.wrong)


def next_words(folder: Path, is_of_files: bool, given: Mapping[str, object]) -> Iterator[str]:
    """The words of the command that runs the job on what was mapped, in a warehouse of its own."""
    if is_of_files:
        yield f"LIFE_STAGE_SOURCE={quote(str(paths.source()))}"
    if str(folder) != FOLDER:
        yield f"LIFE_STAGE_MAPPING={quote(str(folder))}"
    if is_of_files and "LIFE_STAGE_WAREHOUSE" not in os.environ and paths.warehouse().exists():
        yield "LIFE_STAGE_WAREHOUSE=warehouse/mine.duckdb"
        yield "LIFE_STAGE_PUBLISHED=published_mine"
    command = sys.argv[0]
    yield quote(command) if Path(command).name == "life-stage" else "life-stage"
    yield "run"
    for name, value in given.items():
        yield f"--var {name}={quote(str(value))}"


def is_table(word: str) -> bool:
    """True for the name of a table, as in raw.events, unless there is such a file."""
    return bool(TABLE.fullmatch(word)) and not word.lower().endswith(paths.FORMATS) and not Path(word).exists()


def map_tables(folder: Path, names: Sequence[str], is_forced: bool) -> tuple[str, list[Path]]:
    """Write mappings of tables of the warehouse and of attached databases."""
    with opened_tables() as connection:
        return write_mappings(folder, [Table(name, connection) for name in names], is_forced)


def map_files(folder: Path, places: Sequence[Path], is_forced: bool) -> tuple[str, list[Path]]:
    """Write mappings of a folder or of files, and let LIFE_STAGE_SOURCE be the folder that holds them."""
    for place in places:
        if not place.exists():
            raise ValueError(f"LS-SRC-001 {place} is missing: name the source folder, files in it, or tables")
    source = places[0] if places[0].is_dir() else Path(os.path.commonpath([place.parent for place in places]))
    os.environ["LIFE_STAGE_SOURCE"] = str(source)
    chosen = [str(place.relative_to(source)) for place in places if place.is_file()]
    return write_mappings(folder, groups_of(chosen or paths.files_within(source)), is_forced)
