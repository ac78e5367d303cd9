"""Importer of the public files baby.csv and trade.csv (birthdays, baby purchases) into the project's data contract.

Every row of trade.csv becomes a purchase at midday, which is the same day in every time zone. The root category becomes
category and the leaf leaf_category; there are no titles. Every row of baby.csv becomes a child. The files have no
registration date, so the user's first purchase day is assumed. Implausible rows (quantities of 10 000, children of
thirty) stay unchanged; an invalid date becomes null.
"""

import argparse
from pathlib import Path

from .contract import InputError, replacing, run_program
from .csv_source import connect, header, open_csv, write_months, write_table
from .project_macros import moment

TRADE_COLUMNS = ("user_id", "auction_id", "category_2", "category_1", "buy_mount", "day")
BABY_COLUMNS = ("user_id", "birthday", "gender")

# An occurrence number distinguishes equal rows, so ids do not depend on the order of the file.
_PURCHASES = f"""
    select
        md5(concat_ws('|', user_id, auction_id, category_2, category_1, buy_mount, day, row_number() over (
            partition by user_id, auction_id, category_2, category_1, buy_mount, day
        ))) as action_id,
        user_id,
        {moment("day")} + interval 12 hour as occurred_at,
        'purchase' as action,
        auction_id as item_id,
        cast(null as varchar) as search_term,
        try_cast(buy_mount as integer) as quantity
    from trade
"""

# The most frequent pair of categories of an item; ties go to the smallest.
_ITEMS = """
    select
        trade.auction_id as item_id,
        cast(null as varchar) as title,
        category_1 as category,
        category_2 as leaf_category,
        cast(null as varchar) as brand,
        cast(null as varchar) as size,
        item_properties.properties
    from trade
    left join item_properties on trade.auction_id = item_properties.item_id
    where auction_id is not null
    group by auction_id, category_1, category_2, properties
    qualify row_number() over (partition by auction_id order by count(*) desc, category_1, category_2) = 1
    order by item_id
"""
# The original file has a column property, "id:value;id:value..."; copies without it have no properties.
_NO_PROPERTIES = """
    create view item_properties as
    select cast(null as varchar) as item_id, cast(null as varchar) as properties
    where false
"""
_PROPERTIES = """
    create view item_properties as
    with pairs as (
        select auction_id as item_id, unnest(string_split(property, ';')) as pair from trade
    ),
    attributes as (
        select
            item_id,
            split_part(pair, ':', 1) as attribute,
            min(split_part(pair, ':', 2)) as attribute_value
        from pairs
        where contains(pair, ':')
        group by item_id, attribute
        order by item_id, attribute
    )
    select item_id, cast(json_group_object(attribute, attribute_value) as varchar) as properties
    from attributes
    group by item_id
"""

_CHILDREN = f"""
    with first_purchases as (
        select user_id, min({moment("day")}) as registered_at
        from trade
        group by user_id
    )
    select
        baby.user_id,
        cast(row_number() over (
            partition by baby.user_id order by baby.birthday, baby.gender
        ) as integer) as child_no,
        cast({moment("baby.birthday")} as date) as birth_date,
        first_purchases.registered_at
    from baby
    left join first_purchases on baby.user_id = first_purchases.user_id
    order by baby.user_id, child_no
"""


def import_baby_purchases(source: Path, out: Path) -> None:
    """Write the folder out from source/baby.csv and source/trade.csv."""
    connection = connect()
    open_csv(connection, "trade", source / "trade.csv", TRADE_COLUMNS)
    open_csv(connection, "baby", source / "baby.csv", BABY_COLUMNS)
    connection.execute(_PROPERTIES if "property" in header(source / "trade.csv") else _NO_PROPERTIES)
    with replacing(out, "life_stage_demo.import_baby_purchases") as folder:
        write_months(connection, _PURCHASES, folder)
        write_table(connection, _ITEMS, folder / "items.parquet")
        write_table(connection, _CHILDREN, folder / "children.parquet")


def main() -> None:
    """Run the command line: SOURCE_DIR --out DIR."""
    parser = argparse.ArgumentParser(prog="life_stage_demo.import_baby_purchases", description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="directory with baby.csv and trade.csv")
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    options = parser.parse_args()
    if not options.source.is_dir():
        raise InputError(
            f"LS-DEMO-010 {options.source} is not a directory: pass the one with baby.csv; nothing was written"
        )
    import_baby_purchases(options.source, options.out)


if __name__ == "__main__":
    run_program(main)
