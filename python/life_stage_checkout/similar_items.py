"""Content-based similarity of items: TF-IDF cosine of their words.

The only generator that can retrieve an item without purchases.
"""

import duckdb
import numpy as np
import pyarrow as pa

from life_stage_checkout.nearest import nearest

ROWS_PER_BATCH = 500
KEYS = [("item_no", pa.int32()), ("other_item_no", pa.int32())]
SCHEMA = pa.schema([("measure", pa.string()), *KEYS, ("score", pa.float64())])


def similar_items(*, catalogue: duckdb.DuckDBPyRelation, items: duckdb.DuckDBPyRelation) -> pa.Table:
    """Rows of SCHEMA: the most similar items of every item (`alike`), and those among items ever new (`novel`).

    catalogue, items: checkout_catalogue, checkout_items.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes a second to load

    item_no, words = catalogue.order("item_no").project("item_no, words").fetchnumpy().values()
    if not any(text.strip() for text in words):
        return SCHEMA.empty_table()
    matrix = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True, dtype=np.float32).fit_transform(words)
    was_new = np.isin(item_no, items.filter("is_new").project("item_no").distinct().fetchnumpy()["item_no"])
    tables = [SCHEMA.empty_table()]
    for first in range(0, len(item_no), ROWS_PER_BATCH):
        cosines = (matrix[first : first + ROWS_PER_BATCH] @ matrix.T).toarray().astype(float)
        np.fill_diagonal(cosines[:, first:], 0.0)
        for measure, allowed in {"alike": np.arange(len(item_no)), "novel": np.flatnonzero(was_new)}.items():
            item, other, score = nearest(cosines[:, allowed])
            columns = [[measure] * len(item), item_no[first + item], item_no[allowed[other]], score]
            tables.append(pa.table(columns, schema=SCHEMA))
    return pa.concat_tables(tables)
