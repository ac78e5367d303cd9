"""Linear item-item model of baskets (EASE), in closed form: each item is predicted from the others in the basket.

With the Gram matrix G of baskets x items and a penalty, P = (G + penalty * I)^-1 gives the weight -P[i, j] / P[j, j] of
item i for item j. Unlike cosine similarity, it does not count correlated items twice.
"""

from datetime import date

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from life_stage.training.regression import use_one_thread
from life_stage_checkout.nearest import nearest

SCHEMA = pa.schema(
    [("month", pa.date32()), ("item_no", pa.int32()), ("other_item_no", pa.int32()), ("score", pa.float64())]
)


def linear_weights(
    *, pairs: duckdb.DuckDBPyRelation, items: duckdb.DuckDBPyRelation, month: str, options: dict[str, float]
) -> pa.Table:
    """Rows of SCHEMA: the largest weights of every item in the month.

    pairs, items: checkout_pairs, checkout_items; options: `n_items`, the number of most frequent items used; `penalty`.
    """
    use_one_thread()
    item_no, n_lines = frequent_items(items, month, options["n_items"])
    shared = pairs.filter(f"month = date '{month}'").project("item_no, other_item_no, n_baskets").fetchnumpy()
    weights = weights_of(gram_matrix(item_no, n_lines, *shared.values()), options["penalty"])
    item, other, score = nearest(weights)
    return pa.table([[date.fromisoformat(month)] * len(item), item_no[item], item_no[other], score], schema=SCHEMA)


def frequent_items(items: duckdb.DuckDBPyRelation, month: str, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """(item_no, n_lines) of the most frequent items before the month, in descending order."""
    bought = items.filter(f"month = date '{month}' and n_lines > 0").order("n_lines desc, item_no").limit(n_items)
    return tuple(bought.project("item_no, n_lines").fetchnumpy().values())


def positions_of(numbers: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Index of each number in `reference`; -1 if it is missing."""
    return pd.Index(reference).get_indexer(numbers)


def gram_matrix(item_no, n_lines, item, other, n_baskets) -> np.ndarray:
    """Number of baskets that two items share, in the order of item_no; pairs with other items are ignored."""
    row, column = positions_of(item, item_no), positions_of(other, item_no)
    is_known = (row >= 0) & (column >= 0)
    gram = np.diag(np.asarray(n_lines, float))
    gram[row[is_known], column[is_known]] = gram[column[is_known], row[is_known]] = n_baskets[is_known]
    return gram


def weights_of(gram: np.ndarray, penalty: float) -> np.ndarray:
    """Weights [i, j] of item i for item j; 0 on the diagonal."""
    inverse = np.linalg.inv(gram + penalty * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights
