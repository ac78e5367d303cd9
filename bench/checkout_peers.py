"""Other libraries on the checkout's carts: cornac (ItemKNN, EASE, TIFUKNN, UPCF) and implicit (ALS, BM25).

Each is trained on the lines before the month and has the inputs of the hybrid: the cart, and the user's purchases until
the day before. Of five settings per method, the one with the highest recall@10 on the carts of September (seed 0)
predicts the evaluated carts of every seed. make bench-checkout
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import numpy as np
from scipy.sparse import csr_matrix

N_SERVED, N_SAMPLES = 10, 500
FITTED: dict[tuple, object] = {}
LINEAR_ITEMS = 4000  # the most frequent items, because EASE inverts their matrix


@dataclass(frozen=True)
class Month:
    """Data before a month, and its carts; rows of the matrices are users, baskets or queries."""

    day: str
    users: csr_matrix  # number of baskets with the item
    baskets: csr_matrix
    histories: list[list[list[int]]]  # per user, before the month: the items of each basket, oldest first
    carts: csr_matrix
    known: csr_matrix  # per query: the user's purchases until the day before
    known_baskets: list[list[list[int]]]
    relevant_items: csr_matrix
    user_ids: list[str]  # of the queries


def months_of(warehouse: duckdb.DuckDBPyConnection) -> list[Month]:
    """Evaluated months of a warehouse."""
    rows = warehouse.execute("select month from checkout_months where is_evaluated order by month").fetchall()
    return [month_of(warehouse, day) for (day,) in rows]


def month_of(warehouse: duckdb.DuckDBPyConnection, month) -> Month:
    """One month's lines and carts."""
    n_items = warehouse.execute("select max(item_no) + 1 from checkout_catalogue").fetchall()[0][0]
    queries = f"""(select query_id, user_id, queried_on, row_number() over (order by query_id) - 1 as number
        from checkout_queries where kind = 'cart' and month = date '{month}')"""
    before = f"(select *, concat(month, ' ', basket_id) as basket from checkout_lines where month < date '{month}')"
    known = f"""(select number, lines.* from {queries} as queries
        inner join (select *, concat(month, ' ', basket_id) as basket from checkout_lines) as lines
            on queries.user_id = lines.user_id and lines.acted_on < queries.queried_on)"""
    user_ids = [user for (user,) in warehouse.execute(f"select user_id from {queries} order by number").fetchall()]

    def matrix(rows: str, number: str, n_rows: int | None = None) -> csr_matrix:
        found = warehouse.execute(f"select {number} as number, item_no from {rows}").fetchnumpy()
        number, items = found["number"].astype(int), found["item_no"]
        return csr_matrix((np.ones(len(items)), (number, items)), (n_rows or number.max() + 1, n_items))

    def histories(rows: str, number: str) -> dict[int, list[list[int]]]:
        found = warehouse.execute(
            f"""select number, list(items order by acted_on, basket) from (
                select {number} as number, basket, min(acted_on) as acted_on, list(item_no order by item_no) as items
                from {rows} group by all
            ) group by number"""
        )
        return dict(found.fetchall())

    def by_query(table: str) -> csr_matrix:
        return matrix(f"{queries} inner join {table} using (query_id)", "number", len(user_ids))

    user_no, query_no = "dense_rank() over (order by user_id) - 1", "number"
    lines = f"(select *, {user_no} as user_no from {before})"
    known_baskets = histories(known, query_no)
    return Month(
        day=str(month),
        users=matrix(before, user_no),
        baskets=matrix(before, "dense_rank() over (order by basket) - 1"),
        histories=[baskets for _, baskets in sorted(histories(lines, "user_no").items())],
        carts=by_query("(from checkout_query_items where context = 'cart') as carts"),
        known=matrix(known, query_no, len(user_ids)),
        known_baskets=[known_baskets.get(number, []) for number in range(len(user_ids))],
        relevant_items=by_query("checkout_relevant_items"),
        user_ids=user_ids,
    )


def inputs_of(month: Month, cart_weight: float) -> csr_matrix:
    """One row per query: the user's habits, plus the cart times cart_weight."""
    return (month.known.log1p() + month.carts * cart_weight).tocsr()


def training_matrix(month: Month, by: str) -> csr_matrix:
    """Training data of an item model: users or baskets."""
    return month.baskets if by == "baskets" else month.users.log1p()


def cornac_data(matrix: csr_matrix):
    """A matrix as a cornac data set, with the same item indices."""
    from cornac.data import Dataset

    coordinates = matrix.tocoo()
    names = {number: number for number in range(max(matrix.shape))}
    return Dataset(
        matrix.shape[0], matrix.shape[1], names, names, (coordinates.row, coordinates.col, coordinates.data), seed=1
    )


def fitted(fit: Callable, month: Month, by: str, **setting: object) -> csr_matrix:
    """An item model trained before a month; cached, because it does not depend on the random seed of the carts."""
    key = (fit, month.day, by, *setting.items())
    if key not in FITTED:
        FITTED[key] = fit(training_matrix(month, by), **setting)
    return FITTED[key]


def item_knn(month: Month, seed: int, *, cart_weight: float, **setting: object):
    """cornac's ItemKNN: sum of the similarities to the items of the query."""
    return inputs_of(month, cart_weight) @ fitted(item_similarities, month, **setting)


def item_similarities(known: csr_matrix, k: int, weighting: str | None) -> csr_matrix:
    """Similarities: rows are items of the query, columns are candidates."""
    from cornac.models import ItemKNN

    return ItemKNN(k=k, weighting=weighting, seed=1, verbose=False).fit(cornac_data(known)).sim_mat.T.tocsr()


def ease(month: Month, seed: int, *, cart_weight: float, **setting: object):
    """cornac's EASE on the most frequent items."""
    items, weights = fitted(linear_weights, month, **setting)
    scores = np.zeros(month.carts.shape, np.float32)
    scores[:, items] = inputs_of(month, cart_weight)[:, items] @ weights
    return scores


def linear_weights(known: csr_matrix, penalty: float, positive: bool) -> tuple[np.ndarray, np.ndarray]:
    """The items, and the weights: rows are items of the query, columns are candidates."""
    from cornac.models import EASE

    items = np.sort(np.argsort(-np.asarray(known.sum(axis=0)).ravel(), kind="stable")[:LINEAR_ITEMS])
    model = EASE(lamb=penalty, posB=positive, verbose=False).fit(cornac_data(known[:, items].tocsr()))
    return items, np.asarray(model.B, np.float32)


def als(month: Month, seed: int, *, factors: int, regularization: float, alpha: float, cart_weight: float):
    """implicit's ALS; a query is a new user."""
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=factors, regularization=regularization, alpha=alpha, iterations=15, random_state=seed, num_threads=1
    )
    model.fit(month.users.log1p().tocsr(), show_progress=False)
    rows = inputs_of(month, cart_weight).astype(np.float32)
    return model.recalculate_user(np.arange(rows.shape[0]), rows) @ model.item_factors.T


def bm25(month: Month, seed: int, *, cart_weight: float, **setting: object):
    """implicit's item neighbours by BM25."""
    return inputs_of(month, cart_weight) @ fitted(bm25_similarities, month, **setting)


def bm25_similarities(known: csr_matrix, k: int, k1: float, b: float) -> csr_matrix:
    """Similarities: rows are items of the query, columns are candidates."""
    from implicit.nearest_neighbours import BM25Recommender

    model = BM25Recommender(K=k, K1=k1, B=b, num_threads=1)
    model.fit(known, show_progress=False)
    return model.similarity


def tifuknn(month: Month, seed: int, *, neighbours: int, within: float, group: float, alpha: float):
    """cornac's TIFUKNN: user vectors and the mean of the nearest users; its own score() scores one user at a time."""
    from cornac.models import TIFUKNN

    model = TIFUKNN(n_neighbors=neighbours, within_decay_rate=within, group_decay_rate=group, alpha=alpha)
    model.iid_map = range(month.users.shape[1])
    users, queries = (
        np.array([model._compute_user_vector(history) for history in histories], np.float32)
        for histories in (month.histories, month.known_baskets)
    )
    distance = (users**2).sum(axis=1) - 2 * queries @ users.T
    nearest = np.argpartition(distance, neighbours, axis=1)[:, :neighbours]
    starts = np.arange(len(distance) + 1) * neighbours
    chosen = csr_matrix((np.full(nearest.size, 1 / neighbours), nearest.ravel(), starts), (len(distance), len(users)))
    return alpha * queries + (1 - alpha) * (chosen @ users)


def upcf(month: Month, seed: int, *, recency: int, locality: int, asymmetry: float):
    """cornac's UPCF for all queries at once: item shares in the newest baskets of all users, weighted by similarity.

    cornac scores one query at a time and uses the hundred most similar users.
    """
    own, others = (newest_shares(histories, recency, month) for histories in (month.known_baskets, month.histories))
    query_items, user_items = month.known.sign().tocsr(), month.users.sign().tocsr()
    n_query, n_user = (np.asarray(rows.sum(axis=1)).ravel() for rows in (query_items, user_items))
    similarity = (query_items @ user_items.T).toarray()
    similarity /= np.maximum(n_query[:, None], 1) ** asymmetry * n_user[None, :] ** (1 - asymmetry)
    return csr_matrix(similarity**locality) @ others + own


def newest_shares(histories: list[list[list[int]]], recency: int, month: Month) -> csr_matrix:
    """Share of each history's newest baskets (0: all baskets) with the item."""
    rows, items, shares = [], [], []
    for number, history in enumerate(histories):
        last = history[-recency:] if recency else history
        counts = Counter(item for basket in last for item in basket)
        rows += [number] * len(counts)
        items += counts
        shares += [n / len(last) for n in counts.values()]
    return csr_matrix((shares, (rows, items)), (len(histories), month.users.shape[1]))


PEERS: dict[str, tuple[Callable, list[dict]]] = {
    "cornac ItemKNN": (
        item_knn,
        [
            {"k": 50, "weighting": None, "by": "baskets", "cart_weight": 3.0},
            {"k": 50, "weighting": None, "by": "baskets", "cart_weight": 1.0},
            {"k": 50, "weighting": "bm25", "by": "baskets", "cart_weight": 3.0},
            {"k": 50, "weighting": "bm25", "by": "baskets", "cart_weight": 10.0},
            {"k": 50, "weighting": None, "by": "users", "cart_weight": 1.0},
        ],
    ),
    "cornac EASE": (
        ease,
        [
            {"penalty": 10.0, "positive": False, "by": "users", "cart_weight": 1.0},
            {"penalty": 30.0, "positive": False, "by": "users", "cart_weight": 1.0},
            {"penalty": 100.0, "positive": False, "by": "users", "cart_weight": 1.0},
            {"penalty": 100.0, "positive": False, "by": "users", "cart_weight": 3.0},
            {"penalty": 100.0, "positive": False, "by": "baskets", "cart_weight": 3.0},
        ],
    ),
    "cornac TIFUKNN": (
        tifuknn,
        [
            {"neighbours": 300, "within": 0.9, "group": 0.7, "alpha": 0.7},
            {"neighbours": 100, "within": 0.9, "group": 0.7, "alpha": 0.9},
            {"neighbours": 300, "within": 1.0, "group": 0.8, "alpha": 0.7},
            {"neighbours": 300, "within": 1.0, "group": 0.8, "alpha": 0.9},
            {"neighbours": 100, "within": 1.0, "group": 0.9, "alpha": 0.7},
        ],
    ),
    "cornac UPCF": (
        upcf,
        [
            {"recency": 5, "locality": 1, "asymmetry": 0.25},
            {"recency": 25, "locality": 1, "asymmetry": 0.25},
            {"recency": 25, "locality": 5, "asymmetry": 0.25},
            {"recency": 100, "locality": 5, "asymmetry": 0.25},
            {"recency": 0, "locality": 5, "asymmetry": 0.5},
        ],
    ),
    "implicit ALS": (
        als,
        [
            {"factors": 64, "regularization": 0.05, "alpha": 1.0, "cart_weight": 1.0},
            {"factors": 32, "regularization": 0.05, "alpha": 1.0, "cart_weight": 1.0},
            {"factors": 128, "regularization": 0.05, "alpha": 1.0, "cart_weight": 1.0},
            {"factors": 64, "regularization": 0.05, "alpha": 1.0, "cart_weight": 3.0},
            {"factors": 64, "regularization": 0.05, "alpha": 10.0, "cart_weight": 1.0},
        ],
    ),
    "implicit BM25": (
        bm25,
        [
            {"k": 50, "k1": 1.2, "b": 0.75, "by": "users", "cart_weight": 1.0},
            {"k": 200, "k1": 100.0, "b": 0.5, "by": "users", "cart_weight": 1.0},
            {"k": 50, "k1": 1.2, "b": 0.75, "by": "baskets", "cart_weight": 3.0},
            {"k": 200, "k1": 100.0, "b": 0.5, "by": "baskets", "cart_weight": 3.0},
            {"k": 200, "k1": 1.2, "b": 0.75, "by": "baskets", "cart_weight": 10.0},
        ],
    ),
}


def evaluated(month: Month, scores) -> np.ndarray:
    """recall@10 and average precision of each query, without items in the cart and items without a score."""
    scores = np.array(scores.todense() if hasattr(scores, "todense") else scores, dtype=float)
    scores[month.carts.nonzero()] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :N_SERVED]
    top = np.take_along_axis(scores, best, axis=1)
    hits = np.take_along_axis(month.relevant_items.toarray(), best, axis=1) * (np.isfinite(top) & (top != 0))
    n_relevant = np.asarray(month.relevant_items.sum(axis=1)).ravel()
    precisions = (hits * hits.cumsum(axis=1) / np.arange(1, N_SERVED + 1)).sum(axis=1)
    return np.column_stack([hits.sum(axis=1) / n_relevant, precisions / np.minimum(n_relevant, N_SERVED)])


def chosen_settings(month: Month) -> dict[str, tuple[dict, list[float]]]:
    """{peer: (its best setting, recall@10 of each)} in the month before the evaluated ones."""
    found = {}
    for name, (prediction, settings) in PEERS.items():
        recalls = [float(evaluated(month, prediction(month, 0, **setting))[:, 0].mean()) for setting in settings]
        found[name] = settings[int(np.argmax(recalls))], recalls
        print(f"{name:15}", found[name], flush=True)
    return found


def predictions_by_method(months: list[Month], seed: int, settings: dict[str, dict]) -> dict[str, np.ndarray]:
    """{peer: recall@10 and average precision of every evaluated query}."""
    return {
        name: np.concatenate([evaluated(month, PEERS[name][0](month, seed, **setting)) for month in months])
        for name, setting in settings.items()
    }


def ahead(own: np.ndarray, other: np.ndarray, users: list[str]) -> dict[str, list[float]]:
    """Mean difference of the own and the other figures, with 95 % intervals of a bootstrap over users."""
    ids, number = np.unique(users, return_inverse=True)
    samples = np.random.default_rng(1).multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=N_SAMPLES)
    n_queries = samples @ np.bincount(number)
    found = {}
    for column, metric in enumerate(("recall_at_10", "map_at_10")):
        gain = own[:, column] - other[:, column]
        sampled_gains = samples @ np.bincount(number, gain) / n_queries
        found[metric] = [float(gain.mean()), *map(float, np.quantile(sampled_gains, [0.025, 0.975]))]
    return found
