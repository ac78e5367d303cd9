"""Other libraries on the checkout's queries: cornac (ItemKNN, EASE, TIFUKNN, UPCF) and implicit (ALS, BM25).

Each is trained on the lines before the month and has the inputs of the hybrid: the cart, and the user's purchases until
the day before. Settings: cases/checkout_peers.yml. make bench-checkout
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import matmul

import duckdb
import numpy as np
import yaml
from harness import CASES, QUICK, queries
from scipy.sparse import csr_matrix

N_SERVED, N_SAMPLES = 10, 500
LINEAR_ITEMS = 4000  # the most frequent items, because EASE inverts their matrix
Histories = list[list[list[int]]]  # the items of each basket of each user or query, oldest first


@dataclass(frozen=True)
class Month:
    """Data before a month, and its queries; rows of the matrices are users, baskets or queries."""

    day: object
    users: csr_matrix  # number of baskets with the item
    baskets: csr_matrix
    histories: Histories  # of users, before the month
    carts: csr_matrix
    known: csr_matrix  # per query: the user's purchases until the day before
    known_baskets: Histories
    relevant_items: csr_matrix
    user_ids: list[str]  # of the queries


def months_of(warehouse: duckdb.DuckDBPyConnection, kind: str = "cart") -> list[Month]:
    """Evaluated months of a warehouse with the queries of a kind."""
    return [month_of(warehouse, kind, day) for day in days_of(warehouse, "is_evaluated")]


def days_of(warehouse: duckdb.DuckDBPyConnection, condition: str) -> list:
    """First days of the months that meet a condition."""
    rows = warehouse.execute(f"select month from checkout_months where {condition} order by month").fetchall()
    return [day for (day,) in rows]


def month_of(warehouse: duckdb.DuckDBPyConnection, kind: str, month: object) -> Month:
    """One month's lines, and its queries with relevant items."""
    sql = queries("checkout_month", month=month, kind=kind)
    ((n_items,),) = warehouse.execute("select max(item_no) + 1 from checkout_catalogue").fetchall()
    user_ids = [user for (user,) in warehouse.execute(sql["user_ids"]).fetchall()]

    def matrix(name: str, n_rows: int | None = None) -> csr_matrix:
        number, items = warehouse.execute(sql[name]).fetchnumpy().values()
        return csr_matrix((np.ones(len(items)), (number.astype(int), items)), (n_rows or number.max() + 1, n_items))

    histories, known_baskets = (dict(warehouse.execute(sql[of]).fetchall()) for of in ("histories", "known_baskets"))
    return Month(
        day=month,
        users=matrix("users"),
        baskets=matrix("baskets"),
        histories=[baskets for _, baskets in sorted(histories.items())],
        carts=matrix("carts", len(user_ids)),
        known=matrix("known", len(user_ids)),
        known_baskets=[known_baskets.get(number, []) for number in range(len(user_ids))],
        relevant_items=matrix("relevant_items", len(user_ids)),
        user_ids=user_ids,
    )


def inputs_of(month: Month, cart_weight: float) -> csr_matrix:
    """One row per query: the user's habits, plus the cart times cart_weight."""
    return (month.known.log1p() + month.carts * cart_weight).tocsr()


def item_model(fit: Callable) -> Callable:
    """Scores by an item model: the inputs of the query times the similarities of items.

    Similarities are trained on users or baskets before the month, once for all random seeds of the carts.
    """
    fitted = {}

    def scores(month: Month, seed: int, *, cart_weight: float, by: str, **setting: object):
        key = (month.day, month.users.shape, by, *setting.values())
        if key not in fitted:
            fitted[key] = fit(month.baskets if by == "baskets" else month.users.log1p(), **setting)
        return reduce(matmul, fitted[key], inputs_of(month, cart_weight))

    return scores


def cornac_data(matrix: csr_matrix):
    """A matrix as a cornac data set, with the same item indices."""
    from cornac.data import Dataset

    coordinates = matrix.tocoo()
    names = {number: number for number in range(max(matrix.shape))}
    return Dataset(*matrix.shape, names, names, (coordinates.row, coordinates.col, coordinates.data), seed=1)


@item_model
def item_knn(known: csr_matrix, k: int, weighting: str | None) -> tuple:
    """cornac's ItemKNN: sum of the similarities to the items of the query."""
    from cornac.models import ItemKNN

    return (ItemKNN(k=k, weighting=weighting, seed=1, verbose=False).fit(cornac_data(known)).sim_mat.T.tocsr(),)


@item_model
def ease(known: csr_matrix, penalty: float, positive: bool) -> tuple:
    """cornac's EASE on the most frequent items."""
    from cornac.models import EASE

    items = np.sort(np.argsort(-np.asarray(known.sum(axis=0)).ravel(), kind="stable")[:LINEAR_ITEMS])
    model = EASE(lamb=penalty, posB=positive, verbose=False).fit(cornac_data(known[:, items].tocsr()))
    chosen = csr_matrix((np.ones(len(items)), (items, np.arange(len(items)))), (known.shape[1], len(items)))
    return chosen, np.asarray(model.B, np.float32), chosen.T.tocsr()


@item_model
def bm25(known: csr_matrix, k: int, k1: float, b: float) -> tuple:
    """implicit's item neighbours by BM25."""
    from implicit.nearest_neighbours import BM25Recommender

    model = BM25Recommender(K=k, K1=k1, B=b, num_threads=1)
    model.fit(known, show_progress=False)
    return (model.similarity,)


def als(month: Month, seed: int, *, cart_weight: float, **setting: float):
    """implicit's ALS; a query is a new user."""
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(**setting, iterations=15, random_state=seed, num_threads=1)
    model.fit(month.users.log1p().tocsr(), show_progress=False)
    rows = inputs_of(month, cart_weight).astype(np.float32)
    return model.recalculate_user(np.arange(rows.shape[0]), rows) @ model.item_factors.T


def tifuknn(month: Month, seed: int, *, neighbours: int, within: float, group: float, alpha: float):
    """cornac's TIFUKNN: user vectors and the mean of the nearest users; its own score() scores one user at a time."""
    from cornac.models import TIFUKNN

    model = TIFUKNN(n_neighbors=neighbours, within_decay_rate=within, group_decay_rate=group, alpha=alpha)
    model.iid_map = range(month.users.shape[1])
    users, carts = (
        np.array([model._compute_user_vector(history) for history in histories], np.float32)
        for histories in (month.histories, month.known_baskets)
    )
    distance = (users**2).sum(axis=1) - 2 * carts @ users.T
    nearest = np.argpartition(distance, neighbours, axis=1)[:, :neighbours]
    starts = np.arange(len(distance) + 1) * neighbours
    chosen = csr_matrix((np.full(nearest.size, 1 / neighbours), nearest.ravel(), starts), (len(distance), len(users)))
    return alpha * carts + (1 - alpha) * (chosen @ users)


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


def newest_shares(histories: Histories, recency: int, month: Month) -> csr_matrix:
    """Share of each history's newest baskets (0: all baskets) with the item."""
    entries = [
        (number, item, n / len(newest))
        for number, newest in enumerate(history[-recency:] for history in histories)
        for item, n in Counter(item for basket in newest for item in basket).items()
    ]
    rows, items, shares = zip(*entries, strict=True)
    return csr_matrix((shares, (rows, items)), (len(histories), month.users.shape[1]))


METHODS: dict[str, Callable] = {
    "cornac ItemKNN": item_knn,
    "cornac EASE": ease,
    "cornac TIFUKNN": tifuknn,
    "cornac UPCF": upcf,
    "implicit ALS": als,
    "implicit BM25": bm25,
}
OF_HISTORIES = (tifuknn, upcf)  # without an input if no user has a purchase before the query


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


def tuned(warehouse: duckdb.DuckDBPyConnection, kind: str = "cart") -> dict[str, dict]:
    """{peer: the setting with the highest recall@10 in the month before the evaluated ones}."""
    month, found = month_of(warehouse, kind, days_of(warehouse, "is_closed and not is_evaluated")[-1]), {}
    for peer, settings in yaml.safe_load((CASES / "checkout_peers.yml").read_text()).items():
        if month.known.nnz or METHODS[peer] not in OF_HISTORIES:
            settings = settings[: 1 if QUICK else None]
            recalls = [evaluated(month, METHODS[peer](month, 0, **setting))[:, 0].mean() for setting in settings]
            found[peer] = settings[int(np.argmax(recalls))]
            print(kind, peer, found[peer], np.round(recalls, 4), flush=True)
    return found


def scores_of_peers(months: list[Month], seed: int, settings: dict[str, dict]) -> dict[str, np.ndarray]:
    """{peer: recall@10 and average precision of every evaluated query}."""
    return {
        peer: np.concatenate([evaluated(month, METHODS[peer](month, seed, **setting)) for month in months])
        for peer, setting in settings.items()
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
