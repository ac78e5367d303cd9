"""Recommendations for empty carts, one user after the other through the Recommender.

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
USERS_PER_BATCH = 20_000
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
    recommender, users, generators = Recommender(index), index.shoppers.user_ids, np.array(GENERATORS)
    for first in range(0, len(users), USERS_PER_BATCH):
        positions = range(first, min(first + USERS_PER_BATCH, len(users)))
        rankings = [recommender.ranked(NO_CART, index.shoppers[position], [], 0)[:3] for position in positions]
        items, odds, reasons = zip(*((part[:N_SERVED] for part in ranking) for ranking in rankings), strict=True)
        n_served = [len(user_items) for user_items in items]
        columns = [
            pa.array([index.first_day] * sum(n_served)),
            pa.array(np.repeat(users[first : positions.stop], n_served), pa.string()),
            pa.array(np.concatenate([np.arange(1, n + 1) for n in n_served]), pa.int32()),
            pa.array(np.concatenate(items) + 1, pa.int32()),
            pa.array(1 / (1 + np.exp(-np.concatenate(odds)))),
            pa.array(generators[np.concatenate(reasons)], pa.string()),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
        if len(users) > USERS_PER_BATCH:
            print(f"checkout_impressions: {positions.stop:,} of {len(users):,} users", flush=True)
