"""Writes a source from a log of product reviews: each review an action, each stated age a registration.

Reviews: user, time, item and text; a second file may describe the items. The birth date is the time of the review minus
the middle of the stated age, and it is known from that time on. Parquet, CSV and JSON lines, plain or .gz.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pandas as pd

from life_stage.paths import sql_literal
from life_stage.text.stated_ages import stated_ages

# The columns of a review and of an item by the names that public logs give them; the first that is there counts.
REVIEW = {
    "user_id": ("user_id", "reviewerid", "reviewer_id", "customer_id"),
    "item_id": ("parent_asin", "asin", "item_id", "product_id"),
    "reviewed_at": ("timestamp", "unixreviewtime", "review_date", "time", "date"),
    "headline": ("title", "summary", "review_headline"),
    "text": ("text", "reviewtext", "review_body", "review"),
    "product": ("product_title", "item_title"),
}
ITEM = {
    "item_id": ("parent_asin", "asin", "item_id", "product_id"),
    "title": ("title", "product_title", "name"),
    "category": ("main_category", "main_cat", "category"),
    "leaf_category": ("leaf_category", "category"),
    "brand": ("store", "brand"),
}
NEEDED = {"user_id", "item_id", "reviewed_at", "text"}
ACTIONS = """
    select user_id, reviewed_at as occurred_at, 'purchase' as action, item_id, strftime(reviewed_at, '%Y-%m') as month
    from reviews
"""
ROWS_AT_ONCE = 200_000


def main(files: Sequence[Path], into: Path) -> None:
    """Write the source and say what it holds; exits with a code and a remedy if the reviews lack a column."""
    try:
        print(write_source(files, into))
    except (ValueError, duckdb.Error) as error:
        sys.exit(str(error).partition("\n")[0])


def write_source(files: Sequence[Path], into: Path) -> str:
    """Write actions, items and children into the folder, which is new or empty; returns a line about them.

    Raises ValueError LS-REV-001.
    """
    if into.exists() and any(into.iterdir()):
        raise ValueError(f"LS-REV-001 {into} is not empty: name a new folder; nothing was changed")
    unfinished = into.with_name(f"{into.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"create table reviews as {reviews_of(connection, files[0])}")
        unfinished.mkdir(parents=True)
        connection.execute(
            f"copy ({ACTIONS}) to {sql_literal(unfinished / 'actions')} (format parquet, partition_by month)"
        )
        children = pd.concat(statements(connection), ignore_index=True)
        connection.execute(f"copy (from children) to {sql_literal(unfinished / 'children.parquet')}")
        items = items_of(connection, files[1:])
        connection.execute(f"copy ({items}) to {sql_literal(unfinished / 'items.parquet')}")
        counted = connection.sql("select count(*), count(distinct user_id) from reviews").fetchall()
    ((n_reviews, n_users),) = counted
    unfinished.replace(into)
    n_stating = children["user_id"].nunique()
    return (
        f"{n_reviews:,} reviews of {n_users:,} users, {len(children):,} statements of an age by {n_stating:,} of them:"
        f" LIFE_STAGE_SOURCE={into} life-stage doctor"
    )


def reader_of(file: Path) -> str:
    """SQL that reads a file."""
    name = file.name.lower().removesuffix(".gz")
    reader = "read_parquet" if name.endswith(".parquet") else "read_csv" if name.endswith(".csv") else "read_json_auto"
    return f"{reader}({sql_literal(file)}{', all_varchar = true' if reader == 'read_csv' else ''})"


def chosen(connection: duckdb.DuckDBPyConnection, file: Path, wanted: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """{column: SQL} of the wanted columns that the file has."""
    there = {name.lower(): name for name in connection.sql(f"from {reader_of(file)} limit 0").columns}
    found = {column: next((there[n] for n in names if n in there), None) for column, names in wanted.items()}
    return {column: f'"{name}"' for column, name in found.items() if name}


def reviews_of(connection: duckdb.DuckDBPyConnection, file: Path) -> str:
    """SQL of the reviews with the columns of REVIEW: reviewed_at is a time, others are texts. Raises ValueError."""
    columns = chosen(connection, file, REVIEW)
    if missing := sorted(NEEDED - columns.keys()):
        names = "; ".join(f"{column}: {', '.join(REVIEW[column])}" for column in missing)
        raise ValueError(f"LS-REV-001 {file} has no column for {', '.join(missing)}: name it as one of {names}")
    at = f"cast({columns['reviewed_at']} as varchar)"
    # Seconds or milliseconds since 1970, or a time.
    seconds = f"try_cast({at} as bigint) / (case when length({at}) > 11 then 1000 else 1 end)"
    time = f"coalesce(make_timestamp(cast({seconds} as bigint) * 1000000), try_cast({at} as timestamp))"
    texts = [f"cast({columns.get(name, 'null')} as varchar) as {name}" for name in REVIEW if name != "reviewed_at"]
    return f"select {', '.join(texts)}, {time} as reviewed_at from {reader_of(file)}"


def items_of(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> str:
    """SQL of the items: of the file that describes them, else of the reviews."""
    if files:
        columns = chosen(connection, files[0], ITEM)
        names = ("title", "category", "leaf_category", "brand")
        picked = ", ".join(f"cast(any_value({columns.get(name, 'null')}) as varchar) as {name}" for name in names)
        key = f"cast({columns['item_id']} as varchar)"
        return f"select {key} as item_id, {picked} from {reader_of(files[0])} group by {key}"
    return (
        "select item_id, any_value(product) as title, null::varchar as category, null::varchar as leaf_category from"
        " reviews group by item_id"
    )


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
