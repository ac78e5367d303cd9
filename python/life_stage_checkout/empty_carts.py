"""Recommendations for empty carts, in batches of users through the Recommender.

Candidate tables in SQL would need far more memory than the recommendations.
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
N_SERVED = 10
USERS_PER_BATCH = 250  # more are hardly faster, and need more memory
BATCHES_PER_LINE = 200  # of progress
NO_CART = np.zeros(0, int)


def impressions(tables: Mapping[str, duckdb.DuckDBPyRelation]) -> pa.RecordBatchReader:
    """Rows of SCHEMA: up to N_SERVED items per user for the coming month, by the champion of empty carts.

    tables: the tables of CheckoutIndex, and checkout_champions.
    """
    coming_month = tables["checkout_months"].aggregate("max(month) as month")
    champions = tables["checkout_champions"].filter("kind = 'user'").join(coming_month, "month")
    champion = champions.project("month::varchar, model").fetchall()
    return pa.RecordBatchReader.from_batches(SCHEMA, batches(tables, *champion[0]) if champion else [])


def batches(tables: Mapping[str, duckdb.DuckDBPyRelation], month: str, model: str) -> Iterator[pa.RecordBatch]:
    """Batches of users, in the order of their ids."""
    index = CheckoutIndex(tables.__getitem__, month, "user", model)
    recommender, users, generators = Recommender(index), index.shoppers, np.array(GENERATORS)
    for number, first in enumerate(range(0, len(users), USERS_PER_BATCH), start=1):
        shoppers = users[first : first + USERS_PER_BATCH]
        best = recommender.ranked(NO_CART, shoppers)
        shopper, rank, item, odds, reason = (part[best.rank < N_SERVED] for part in best[:5])
        columns = [
            pa.array([index.first_day] * len(rank)),
            pa.array(shoppers.user_ids[shopper], pa.string()),
            pa.array(rank + 1, pa.int32()),
            pa.array(item + 1, pa.int32()),
            pa.array(1 / (1 + np.exp(-odds))),
            pa.array(generators[reason], pa.string()),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
        if number % BATCHES_PER_LINE == 0:
            print(f"checkout_impressions: {first + len(shoppers):,} of {len(users):,} users", flush=True)
