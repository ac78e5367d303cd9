"""Writes a source from a log of product reviews: each review an action, each stated age a registration.

Reviews: user, time, item and text; a second file may describe the items. The birth date is the time of the review minus
the middle of the stated age, and it is known from that time on. Times are read as in any source. Parquet, CSV, TSV and
JSON lines, the texts also as .gz.
"""

import sys
import tempfile
from pathlib import Path

import duckdb
import pandas as pd

from life_stage.engine.project_macros import moment
from life_stage.mapping import NAMES, by_letters
from life_stage.paths import sql_literal
from life_stage.text.stated_ages import stated_ages

# The columns of a review and of an item by their names as in mapping.NAMES; the first that is there counts.
REVIEW = {
    "user_id": NAMES["user_id"],
    "item_id": NAMES["item_id"],
    "reviewed_at": NAMES["occurred_at"],
    "headline": ["title", "summary", "reviewheadline"],
    "text": ["text", "reviewtext", "reviewbody", "review"],
    "product": ["producttitle", "itemtitle"],
}
ITEM = {name: NAMES[name] for name in ("item_id", "title", "category", "leaf_category", "brand")}
NEEDED = {"user_id", "item_id", "reviewed_at", "text"}
ACTIONS = """
    select user_id, reviewed_at as occurred_at, 'purchase' as action, item_id, strftime(reviewed_at, '%Y-%m') as month
    from reviews
"""
ROWS_AT_ONCE = 200_000
READERS = {
    ".parquet": ("read_parquet", ""),
    ".csv": ("read_csv", ", all_varchar = true"),
    ".tsv": ("read_csv", ", all_varchar = true, delim = '\\t', quote = ''"),
    ".json": ("read_json_auto", ", sample_size = -1"),
    ".jsonl": ("read_json_auto", ", sample_size = -1"),
}


def main(reviews: Path, items: Path | None, into: Path) -> None:
    """Write the source and say what it holds; exits with a code and a remedy if a file cannot be used."""
    try:
        print(write_source(reviews.expanduser(), items and items.expanduser(), into.expanduser()))
    except (ValueError, OSError, duckdb.Error) as error:
        text = str(error).partition("\n")[0]
        sys.exit(text if text.startswith("LS-") else f"LS-REV-001 the reviews cannot be read: {text}")


def write_source(reviews: Path, items: Path | None, into: Path) -> str:
    """Write actions, items and children into a new folder; returns a line about them. Raises ValueError LS-REV-001."""
    if into.exists():
        raise ValueError(f"LS-REV-001 {into} exists: name a new folder; nothing was changed")
    into.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=into.parent, prefix=".reviews-") as folder,
        duckdb.connect() as connection,
    ):
        source = Path(folder, "source")
        source.mkdir()
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"create table reviews as {reviews_of(connection, reviews)}")
        counts = "select count(*), count(reviewed_at), count(distinct user_id) from reviews"
        ((n_reviews, n_timed, n_users),) = connection.sql(counts).fetchall()
        if 2 * n_timed < n_reviews:
            raise ValueError(
                f"LS-REV-001 {n_reviews - n_timed:,} of {n_reviews:,} reviews have no readable time: write"
                " them as 2017-03-01 or as seconds since 1970; nothing was changed"
            )
        by_month = f"{sql_literal(source / 'actions')} (format parquet, partition_by month)"
        connection.execute(f"copy ({ACTIONS}) to {by_month}")
        children = pd.concat(statements(connection), ignore_index=True)
        connection.execute(f"copy (from children) to {sql_literal(source / 'children.parquet')}")
        described = items_of(connection, items)
        connection.execute(f"copy ({described}) to {sql_literal(source / 'items.parquet')}")
        source.replace(into)
    n_stating = children["user_id"].nunique()
    return (
        f"{n_timed:,} of {n_reviews:,} reviews of {n_users:,} users, {len(children):,} statements of an age by"
        f" {n_stating:,} of them: LIFE_STAGE_SOURCE={into} life-stage doctor"
    )


def reader_of(file: Path) -> str:
    """SQL that reads a file. Raises ValueError LS-REV-001."""
    reader, options = READERS.get(Path(file.name.lower().removesuffix(".gz")).suffix, ("", ""))
    if not reader or not file.is_file():
        raise ValueError(f"LS-REV-001 {file} is no file of the formats {', '.join(READERS)}: name such a file")
    return f"{reader}({sql_literal(file)}{options})"


def chosen(
    connection: duckdb.DuckDBPyConnection, file: Path, wanted: dict[str, list[str]], needed: set[str]
) -> dict[str, str]:
    """{column: SQL, a text} of the wanted columns; null where the file has none. Raises ValueError LS-REV-001."""
    there = by_letters(connection.sql(f"from {reader_of(file)} limit 0").columns)
    found = {column: next((there[n] for n in names if n in there), None) for column, names in wanted.items()}
    if missing := sorted(column for column in needed if not found[column]):
        names = "; ".join(f"{column}: {', '.join(wanted[column])}" for column in missing)
        raise ValueError(f"LS-REV-001 {file} has no column for {', '.join(missing)}: name it as one of {names}")
    return {column: f'cast("{name}" as varchar)' if name else "null::varchar" for column, name in found.items()}


def reviews_of(connection: duckdb.DuckDBPyConnection, file: Path) -> str:
    """SQL of the reviews with the columns of REVIEW: reviewed_at is a time (null: unreadable), others are texts."""
    columns = chosen(connection, file, REVIEW, NEEDED)
    texts = ", ".join(f"{columns[name]} as {name}" for name in REVIEW)
    return f"select * replace ({moment('reviewed_at')} as reviewed_at) from (select {texts} from {reader_of(file)})"


def items_of(connection: duckdb.DuckDBPyConnection, file: Path | None) -> str:
    """SQL of the items: of the file that describes them, else of the reviews."""
    if not file:
        nulls = ", ".join(f"null::varchar as {name}" for name in ("category", "leaf_category", "brand"))
        return f"select item_id, any_value(product) as title, {nulls} from reviews group by item_id"
    columns = chosen(connection, file, ITEM, {"item_id"})
    picked = ", ".join(f"any_value({columns[name]}) as {name}" for name in ITEM if name != "item_id")
    return f"select {columns['item_id']} as item_id, {picked} from {reader_of(file)} group by all"


def statements(connection: duckdb.DuckDBPyConnection) -> list[pd.DataFrame]:
    """Registrations from the texts, in frames with the columns of children."""
    texts = "select user_id, reviewed_at, concat_ws('. ', headline, text) from reviews where reviewed_at is not null"
    types = {"user_id": "str", "birth_date": "datetime64[us]", "registered_at": "datetime64[us]"}
    frames = [pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})]
    reading = connection.cursor().execute(texts)
    while rows := reading.fetchmany(ROWS_AT_ONCE):
        stated = [(user, at - pd.Timedelta(days=age.days), at) for user, at, text in rows for age in stated_ages(text)]
        frames.append(pd.DataFrame(stated, columns=list(types)).astype(types))
    return frames
