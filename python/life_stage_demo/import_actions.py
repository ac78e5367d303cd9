"""Importer of a public click, collect, cart and purchase log into the project's data contract.

The log has the columns user_id, item_id, behavior_type, item_category and time. An optional item file has item_id and
item_category. The numbers 1 to 4 become words; words (pv, fav, cart, buy) stay, because they are in the project's
dictionary of synonyms. The log's single category level fills both levels. children.parquet has no rows. An unreadable
time becomes null.
"""

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .contract import CHILDREN_SCHEMA, InputError, replacing, run_program
from .csv_source import connect, header, open_csv, write_months, write_table
from .project_macros import moment

LOG_COLUMNS = ("user_id", "item_id", "behavior_type", "item_category", "time")
ITEM_COLUMNS = ("item_id", "item_category")

# Times are in hours, so equal rows are separate actions; an occurrence number distinguishes their ids.
_ACTIONS = f"""
    select
        md5(concat_ws('|', user_id, item_id, behavior_type, item_category, time, row_number() over (
            partition by user_id, item_id, behavior_type, item_category, time
        ))) as action_id,
        user_id,
        {moment("time")} as occurred_at,
        case behavior_type
            when '1' then 'click' when '2' then 'collect' when '3' then 'cart' when '4' then 'purchase'
            else behavior_type
        end as action,
        item_id,
        cast(null as varchar) as search_term,
        cast(null as integer) as quantity
    from log
"""

# The most frequent category of an item; ties go to the smallest.
_ITEMS = """
    select
        item_id,
        cast(null as varchar) as title,
        item_category as category,
        item_category as leaf_category,
        cast(null as varchar) as brand,
        cast(null as varchar) as size,
        cast(null as varchar) as properties
    from (select item_id, item_category from log union all select item_id, item_category from listed_items)
    where item_id is not null
    group by item_id, item_category
    qualify row_number() over (partition by item_id order by count(*) desc, item_category) = 1
    order by item_id
"""


def csv_files(sources: list[Path]) -> tuple[list[Path], list[Path]]:
    """(logs, item files) among the sources and the CSV files in them, distinguished by their columns."""
    files = [file for source in sources for file in (sorted(source.glob("*.csv")) if source.is_dir() else [source])]
    logs = [file for file in files if "behavior_type" in header(file)]
    items = [file for file in files if file not in logs and set(ITEM_COLUMNS) <= set(header(file))]
    if not logs:
        searched = ", ".join(str(source) for source in sources)
        raise InputError(
            f"LS-DEMO-013 no CSV file with a column behavior_type in {searched}: pass the log; nothing was written"
        )
    return logs, items


def import_actions(sources: list[Path], out: Path) -> None:
    """Write the folder out from the CSV files."""
    logs, items = csv_files(sources)
    connection = connect()
    for kind, files, columns in (("log", logs, LOG_COLUMNS), ("listed_items", items, ITEM_COLUMNS)):
        parts = [f"select null as {', null as '.join(columns)} where false"]
        for number, file in enumerate(files):
            open_csv(connection, f"{kind}_{number}", file, columns)
            parts.append(f"select {', '.join(columns)} from {kind}_{number}")
        connection.execute(f"create view {kind} as {' union all '.join(parts)}")
    with replacing(out, "life_stage_demo.import_actions") as folder:
        write_months(connection, _ACTIONS, folder)
        write_table(connection, _ITEMS, folder / "items.parquet")
        pq.write_table(
            CHILDREN_SCHEMA.set(0, pa.field("user_id", pa.string())).empty_table(),
            folder / "children.parquet",
            store_schema=False,
        )


def main() -> None:
    """Run the command line: SOURCE ... --out DIR."""
    parser = argparse.ArgumentParser(prog="life_stage_demo.import_actions", description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, nargs="+", help="directory with CSV files, or the files")
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    options = parser.parse_args()
    import_actions(options.source, options.out)


if __name__ == "__main__":
    run_program(main)
