"""Recommendations for every shopper with an empty cart, by the Recommender, one shopper after the other.

As tables of candidates they would take a hundred times the memory of the answers.
"""

from collections.abc import Iterator, Mapping

import duckdb
import numpy as np
import pyarrow as pa

from life_stage_checkout.checkout_index import CheckoutIndex
from life_stage_checkout.serving import GENERATORS, Recommender

SCHEMA = pa.schema(
    [
        ("month", pa.date32()),
        ("user_id", pa.string()),
        ("rank", pa.int32()),
        ("item_no", pa.int32()),
        ("probability", pa.float64()),
        ("reason", pa.string()),
    ]
)
N_SHOWN = 10
USERS_AT_ONCE = 20_000
NO_CART = np.zeros(0, int)


def impressions(tables: Mapping[str, duckdb.DuckDBPyRelation]) -> pa.RecordBatchReader:
    """Rows of SCHEMA: up to ten items for every shopper of the month to come, by the champion of empty carts.

    tables: those of the checkout that Memory reads, and checkout_champions.
    """
    to_come = tables["checkout_months"].aggregate("max(month) as month")
    champions = tables["checkout_champions"].filter("kind = 'user'").join(to_come, "month")
    chosen = champions.project("month::varchar, model").fetchall()
    return pa.RecordBatchReader.from_batches(SCHEMA, batches(tables, *chosen[0]) if chosen else [])


def batches(tables: Mapping[str, duckdb.DuckDBPyRelation], month: str, model: str) -> Iterator[pa.RecordBatch]:
    """Some shoppers at a time, in the order of their ids."""
    index = CheckoutIndex(tables.__getitem__, month, "user", model)
    recommender, users, generators = Recommender(index), index.shoppers.user_ids, np.array(GENERATORS)
    for first in range(0, len(users), USERS_AT_ONCE):
        numbers = range(first, min(first + USERS_AT_ONCE, len(users)))
        answers = [recommender.ranked(NO_CART, index.shoppers[number], [], 0)[:3] for number in numbers]
        items, odds, reasons = zip(*((part[:N_SHOWN] for part in answer) for answer in answers), strict=True)
        n_shown = [len(of_user) for of_user in items]
        columns = [
            pa.array([index.first_day] * sum(n_shown)),
            pa.array(np.repeat(users[first : numbers.stop], n_shown), pa.string()),
            pa.array(np.concatenate([np.arange(1, n + 1) for n in n_shown]), pa.int32()),
            pa.array(np.concatenate(items) + 1, pa.int32()),
            pa.array(1 / (1 + np.exp(-np.concatenate(odds)))),
            pa.array(generators[np.concatenate(reasons)], pa.string()),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
        if len(users) > USERS_AT_ONCE:
            print(f"checkout_impressions: {numbers.stop:,} of {len(users):,} shoppers", flush=True)
