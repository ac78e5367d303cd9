"""A linear model of baskets (EASE): each item is told from all others in the basket, in closed form.

With the Gram matrix G of baskets x items and a penalty, P = (G + penalty * I)^-1 gives the weights -P[i, j] / P[j, j]
with which item i speaks for item j. Unlike a cosine it does not count twice what two items say alike.
"""

import duckdb
import numpy as np
import pyarrow as pa

from life_stage.regression import use_one_thread
from life_stage_checkout.nearest import nearest

SCHEMA = pa.schema(
    [("month", pa.date32()), ("item_no", pa.int32()), ("other_item_no", pa.int32()), ("score", pa.float64())]
)


def linear_weights(
    *, pairs: duckdb.DuckDBPyRelation, items: duckdb.DuckDBPyRelation, options: dict[str, float]
) -> pa.Table:
    """Rows of SCHEMA: of every item those that it speaks for most, month by month.

    pairs, items: checkout_pairs, checkout_items; options: `n_items`, the most frequent ones that take part, `penalty`.
    """
    use_one_thread()
    tables = [SCHEMA.empty_table()]
    for (month,) in items.project("month").distinct().order("month").fetchall():
        of_month = f"month = date '{month}'"
        known = items.filter(f"{of_month} and n_lines > 0").order("n_lines desc, item_no").limit(options["n_items"])
        item_no, n_lines = known.project("item_no, n_lines").fetchnumpy().values()
        shared = pairs.filter(of_month).project("item_no, other_item_no, n_baskets").fetchnumpy()
        weights = weights_of(gram_matrix(item_no, n_lines, *shared.values()), options["penalty"])
        item, other, score = nearest(weights)
        tables.append(pa.table([[month] * len(item), item_no[item], item_no[other], score], schema=SCHEMA))
    return pa.concat_tables(tables)


def gram_matrix(item_no, n_lines, item, other, n_baskets) -> np.ndarray:
    """How many baskets two items share, in the order of item_no; pairs with an item that is not there are left out."""
    place = np.full(max(item_no.max(initial=0), item.max(initial=0), other.max(initial=0)) + 1, -1)
    place[item_no] = np.arange(len(item_no))
    row, column = place[item], place[other]
    is_known = (row >= 0) & (column >= 0)
    gram = np.diag(np.asarray(n_lines, float))
    gram[row[is_known], column[is_known]] = gram[column[is_known], row[is_known]] = n_baskets[is_known]
    return gram


def weights_of(gram: np.ndarray, penalty: float) -> np.ndarray:
    """Weights [i, j] with which item i speaks for item j; none for itself."""
    inverse = np.linalg.inv(gram + penalty * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights
