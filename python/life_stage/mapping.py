"""Mappings: a select for each table of the data contract, over a shop's own files.

Folder LIFE_STAGE_MAPPING (default: mapping) holds <table>.sql, which life-stage map writes and the shop owns:

    select visitor as user_id, ts as occurred_at, ..., source_file from 'events/*.csv'

A pattern in quotes names files within the source; its `*` matches folders too. The engine puts the files to be read in
its place. The rows of actions have to name their file, so they are read by month and from one pattern; other tables may
join several. A line `-- columns: a, b` gives names to files without a header row. All values of CSV files are text.

With var source_schema a mapping is a select over tables of the warehouse or of attached databases, run as it is.
"""

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

FOLDER = "mapping"  # the default
FILES = re.compile(r"\b(from|join)\s+'((?:[^']|'')+)'", re.IGNORECASE)
COLUMNS = re.compile(r"^-- columns: *(.+)$", re.MULTILINE | re.IGNORECASE)
COMMENTS = re.compile(r"('(?:[^']|'')*')|--[^\n]*|/\*.*?\*/", re.DOTALL)

# Names of a column in other shops, in lower case without punctuation; the first that is there counts.
NAMES = {
    column: names.split()
    for column, names in {
        "action_id": "actionid eventid eventuuid insertid messageid",
        "user_id": "userid user visitorid customerid clientid memberid shopperid buyerid uid userpseudoid anonymousid"
        " customer email personid householdid reviewerid",
        "occurred_at": "occurredat eventtime timestamp eventtimestamp unixreviewtime reviewdate time datetime ts"
        " createdat orderdate purchasedate invoicedate datecreated date day",
        "action": "action eventtype eventname event behaviortype behavior behaviour actiontype activity type",
        "item_id": "itemid productid sku stockcode articleid goodsid auctionid item product productcode parentasin"
        " asin variantid",
        "search_term": "searchterm query searchquery keyword keywords searchkeyword q",
        "quantity": "quantity qty units count buymount",
        "price": "price unitprice itemprice salesprice",
        "session_id": "sessionid usersession visitid session orderid invoice invoiceno basketid",
        "device": "device devicetype devicecategory platform",
        "dwell_seconds": "dwellseconds dwelltime duration",
        "title": "title productname itemname name producttitle description productdescription",
        "category": "maincategory maincat rootcategory category categoryname department producttype",
        "leaf_category": "leafcategory subcategory categorycode categoryid itemcategory productcategory catid"
        " subcategoryid category",
        "brand": "brand brandname manufacturer vendor store",
        "size": "size packsize packagesize",
        "properties": "properties property attributes",
        "birth_date": "birthdate birthday dateofbirth dob duedate babybirthday childbirthdate",
        "registered_at": "registeredat registrationdate registered signupdate",
        "child_no": "childno childnumber",
    }.items()
}


class Mapping(NamedTuple):
    """A mapping: its file, SQL, patterns of files, and the names of columns without a header row."""

    file: Path
    sql: str
    patterns: list[str]
    columns: list[str]

    @classmethod
    def parsed(cls, file: Path, is_of_tables: bool = False) -> "Mapping":
        """The mapping in a file. Raises ValueError LS-SRC-012 for one that names no files, or not those of its rows.

        is_of_tables: it may name no files.
        """
        text = file.read_text(encoding="utf-8")
        columns = [name.strip() for names in COLUMNS.findall(text) for name in names.split(",")]
        # On one line, because it also replaces a placeholder in comments.
        sql = without_comments(text).replace("\n", " ").strip().rstrip(";").strip()
        patterns = [unquoted(pattern) for _, pattern in FILES.findall(sql)]
        if is_of_tables and patterns:
            raise ValueError(
                f"LS-SRC-012 {file} names the files '{patterns[0]}', but var source_schema stands for tables: write"
                f" them without quotes, as in from raw.events, or set LIFE_STAGE_MAPPING to another folder"
            )
        if is_of_tables:
            return cls(file, sql, [], [])
        if not patterns:
            raise ValueError(f"LS-SRC-012 {file} names no files: write them as in from 'events/*.csv'")
        if file.stem == "actions" and (len(patterns) > 1 or "source_file" not in sql):
            raise ValueError(
                f"LS-SRC-012 {file} does not say which rows are of which file: select source_file from one pattern"
            )
        return cls(file, sql, patterns, columns)

    @property
    def source_file(self) -> str:
        """SQL of the file of a row; where the select does not name it, the first pattern."""
        return "source_file" if "source_file" in self.sql else "'" + self.patterns[0].replace("'", "''") + "'"

    def matches(self, name: str) -> bool:
        """True for a file, named within the source, that the mapping reads."""
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def over(self, rows: dict[str, str]) -> str:
        """The SQL with queries of rows, by pattern, in place of the files."""
        return FILES.sub(lambda found: f"{found[1]} ({rows[unquoted(found[2])]})", self.sql)


def unquoted(pattern: str) -> str:
    """A pattern as its literal in SQL gives it."""
    return pattern.replace("''", "'")


def without_comments(sql: str) -> str:
    """The SQL without its comments; two hyphens within a string are no comment."""
    return COMMENTS.sub(lambda found: found[1] or " ", sql)


def mapping_of(table: str, is_of_tables: bool = False) -> Mapping | None:
    """The mapping of a table; None without one. Raises ValueError LS-SRC-012. is_of_tables: with var source_schema."""
    folder = os.environ.get("LIFE_STAGE_MAPPING", FOLDER)
    file = Path(os.path.expanduser(folder)) / f"{table}.sql"
    return Mapping.parsed(file, is_of_tables) if folder and file.is_file() else None


def by_letters(columns: Iterable[str]) -> dict[str, str]:
    """The columns by their names in the letters and digits of NAMES; the first of several counts."""
    return {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(list(columns))}


def likely(column: str, delivered: Iterable[str]) -> str | None:
    """The delivered column that is probably meant by one of the contract: known by its name, or spelt nearly alike."""
    there = by_letters(delivered)
    names = [column.replace("_", ""), *NAMES.get(column, ())]
    known = [name for name in names if name in there]
    alike = [found for name in names for found in get_close_matches(name, there, 1, 0.85)]
    return next((there[name] for name in (*known, *alike)), None)
