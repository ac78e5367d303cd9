"""Content-based similarity of items: TF-IDF cosine of their words.

The only generator that can retrieve an item without purchases.
"""

from collections.abc import Iterator
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa

from life_stage_checkout.nearest import nearest

CELLS_PER_BATCH = 1_000_000  # cosines at once, so that memory does not grow with the square of the items
SCHEMA = pa.schema([("item_no", pa.int32()), ("other_item_no", pa.int32()), ("score", pa.float64())])


def similar_items(*, catalogue: duckdb.DuckDBPyRelation) -> pa.Table:
    """Rows of SCHEMA: the most similar items of every item. catalogue: checkout_catalogue."""
    return pa.concat_tables([SCHEMA.empty_table(), *similar(catalogue)])


def similar_new_items(*, catalogue: duckdb.DuckDBPyRelation, items: duckdb.DuckDBPyRelation, month: str) -> pa.Table:
    """Rows of SCHEMA with the month: the most similar items of every item among those new in the month.

    catalogue, items: checkout_catalogue, checkout_items.
    """
    is_new = items.filter(f"month = date '{month}' and is_new").project("item_no").fetchnumpy()["item_no"]
    rows = pa.concat_tables([SCHEMA.empty_table(), *(similar(catalogue, is_new) if len(is_new) else [])])
    return rows.add_column(0, "month", pa.array([date.fromisoformat(month)] * len(rows), pa.date32()))


def similar(catalogue: duckdb.DuckDBPyRelation, others: np.ndarray | None = None) -> Iterator[pa.Table]:
    """Rows of SCHEMA in batches: the most similar items of every item, among all or among `others` (item_no)."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes a second to load

    item_no, words = catalogue.order("item_no").project("item_no, words").fetchnumpy().values()
    if not any(text.strip() for text in words):
        return
    matrix = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True, dtype=np.float32).fit_transform(words)
    allowed = np.arange(len(item_no)) if others is None else np.flatnonzero(np.isin(item_no, others))
    n_rows = max(1, CELLS_PER_BATCH // max(len(allowed), 1))
    for first in range(0, len(item_no), n_rows):
        batch = np.arange(first, min(first + n_rows, len(item_no)))
        cosines = (matrix[batch] @ matrix[allowed].T).toarray().astype(float)
        cosines[batch[:, None] == allowed] = 0.0
        item, other, score = nearest(cosines)
        yield pa.table([item_no[batch[item]], item_no[allowed[other]], score.round(6)], schema=SCHEMA)
