"""In-memory index of the checkout of one month, so that a recommendation reads no database.

Items are indices into the catalogue. Candidate generators and their sizes are those of checkout_candidates.
"""

from collections.abc import Callable, Collection
from copy import copy
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import duckdb
import numpy as np

from life_stage_checkout.grouped import N_CANDIDATES, largest

N_OF_TYPES = 60  # best types of a query, and items of each, that can be candidates; as in checkout_candidates
N_OF_FEW = 8
MEASURES = ("together", "linear", "alike", "novel")
HABITS = ("n_baskets", "score", "recent_score", "first_on", "last_on")
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Shoppers:
    """Features of users on the month's first day, in arrays: user u has rows starts[u] to starts[u + 1].

    habits: as in checkout_habits, days counted from that day, with habit_starts; browsed: product types and their
    scores, as in checkout_browsing, with browsed_starts; stages: shares of the stages and of none, where is_known.
    """

    user_ids: np.ndarray
    habit_starts: np.ndarray
    habits: Columns
    browsed_starts: np.ndarray
    browsed: tuple[np.ndarray, np.ndarray]
    stages: np.ndarray
    is_known: np.ndarray
    n_baskets: np.ndarray
    recency: np.ndarray

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {user: position for position, user in enumerate(self.user_ids)}

    def __len__(self) -> int:
        return len(self.user_ids)

    def __getitem__(self, users: slice) -> "Shoppers":
        first, last, _ = users.indices(len(self))
        starts, browsed_starts = self.habit_starts[first : last + 1], self.browsed_starts[first : last + 1]
        rows, browsed = (slice(*from_to[[0, -1]]) for from_to in (starts, browsed_starts))
        return Shoppers(
            self.user_ids[users],
            starts - starts[0],
            {name: column[rows] for name, column in self.habits.items()},
            browsed_starts - browsed_starts[0],
            (self.browsed[0][browsed], self.browsed[1][browsed]),
            self.stages[users],
            self.is_known[users],
            self.n_baskets[users],
            self.recency[users],
        )

    def log_lifts(self, shopper: np.ndarray, shares: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Logarithm of shares expected in the stages of a shopper over the overall ones; 0 for unknown stages.

        shopper: row number; shares: those of each stage and of none; share: the overall one.
        """
        lift = np.einsum("is,is->i", shares, self.stages[shopper]) / share
        return np.log(np.where(self.is_known[shopper], lift, 1.0))

    @cached_property
    def cold(self) -> "Shoppers":
        """One user without features."""
        nobody, none = np.zeros(1), {name: column[:0] for name, column in self.habits.items()}
        browsed, stages = (self.browsed[0][:0], self.browsed[1][:0]), np.zeros((1, self.stages.shape[1]))
        starts = np.zeros(2, int)
        return Shoppers(np.array([""]), starts, none, starts, browsed, stages, np.zeros(1, bool), nobody, nobody)

    def knows(self, user: str) -> bool:
        """True if the user has features."""
        return user in self._positions

    def named(self, user: str | int | None) -> "Shoppers":
        """The user alone; a cold-start user for an unknown id."""
        position = None if user is None else self._positions.get(str(user))
        return self.cold if position is None else self[position : position + 1]


def shoppers_of(
    habits: duckdb.DuckDBPyRelation,
    browsing: duckdb.DuckDBPyRelation,
    users: duckdb.DuckDBPyRelation,
    stages: list[str],
    month: str,
) -> Shoppers:
    """The users of a month, in the order of their ids."""
    for name, rows in (("n_habits", habits), ("n_browsed", browsing)):
        users = users.join(rows.aggregate(f"user_id, count(*) as {name}", "user_id"), "user_id", how="left")
    facts = users.order("user_id").fetchnumpy()
    starts, browsed_starts = (
        np.concatenate([[0], np.cumsum(np.ma.filled(facts[name], 0))]) for name in ("n_habits", "n_browsed")
    )
    known = browsing.join(users.project("user_id"), "user_id", how="semi").order("user_id, type_no")
    known = known.project("type_no - 1 as type, score").fetchnumpy()
    days = (f"{name} - date '{month}' as {name}" if name.endswith("_on") else name for name in HABITS)
    rows = habits.order("user_id, item_no").project(f"item_no - 1 as item, {', '.join(days)}").fetchnumpy()
    shares = np.column_stack([facts[name] for name in stages])
    return Shoppers(
        facts["user_id"],
        starts,
        {name: rows[name].astype(int if name == "item" else float) for name in ("item", *HABITS)},
        browsed_starts,
        (known["type"].astype(int), known["score"]),
        np.column_stack([shares, 1 - shares.sum(axis=1)]),
        facts["stage"] != "unknown",
        facts["n_baskets"],
        np.log1p(np.ma.filled(facts["recency_days"].astype(float), 0.0)),
    )


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of each item: rows starts[item] to starts[item + 1] of others and scores."""

    starts: np.ndarray
    others: np.ndarray
    scores: np.ndarray

    def of(self, items: np.ndarray, weights: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, ...]:
        """(Owner, neighbour, weighted score) of the neighbours of several items, one item after the other.

        owners: a number for each item, which its neighbours get too.
        """
        starts, lengths = self.starts[items], self.starts[items + 1] - self.starts[items]
        rows = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        return np.repeat(owners, lengths), self.others[rows], np.repeat(weights, lengths) * self.scores[rows]


class ProductTypes:
    """Product types of a month: their shares, which are seen together, and the items of each that are seen most."""

    def __init__(
        self, types: Columns, neighbours: Columns, items: Columns, stages: list[str], is_available: np.ndarray
    ):
        self.share, self.prior_weight = types["share"], types["prior_weight"]
        self.leaf = np.unique(types["leaf_no"], return_inverse=True)[1]
        self.shares = np.column_stack([types[name] for name in [*stages, "share"]])
        self.next_shares = of_next_stage(self.shares)
        self.neighbours = neighbours_of(neighbours, len(self.share), "type_no")
        self.of_item, self.share_of_type = items["type_no"].astype(int) - 1, items["share_of_type"]
        order = np.lexsort((np.arange(len(self.of_item)), -self.share_of_type, self.of_item))
        order = order[is_available[order]]
        # The items of each type with the largest shares; rows of types, 0 behind the last item of a row.
        n, of_type = len(self.share), self.of_item[order]
        rank = np.arange(len(order)) - np.searchsorted(of_type, np.arange(n))[of_type]
        of_type, rank, order = (part[rank < N_OF_TYPES] for part in (of_type, rank, order))
        self.best, self.best_shares = np.zeros((n, N_OF_TYPES), int), np.zeros((n, N_OF_TYPES))
        self.best[of_type, rank], self.best_shares[of_type, rank] = order, self.share_of_type[order]

    def next_needs(self, shopper: np.ndarray, browsed: np.ndarray, in_cart: np.ndarray, n: int) -> np.ndarray:
        """True for the types of leaf categories of which a shopper has looked at no type, and none is in the cart.

        shopper: row number below n of each type of browsed. Rows of shoppers.
        """
        is_seen = np.zeros((n, self.leaf.max(initial=0) + 1), bool)
        is_seen[shopper, self.leaf[browsed]] = True
        is_seen[:, self.leaf[in_cart]] = True
        return ~is_seen[:, self.leaf]

    def candidates(
        self, shares: np.ndarray, n_in_cart: int, items: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(Row, item, score): items of the types with the largest shares in each row of shares; of these items alone.

        All that can be among the N_CANDIDATES best without those of the cart; the score is the share of the item. Rows
        ascend, and items within a row.
        """
        if items is not None:
            scores = shares[:, self.of_item[items]] * self.share_of_type[items]
            row, column = np.nonzero(scores > 0)
            return row, items[column], scores[row, column]
        n, largest_scores = len(shares), shares * self.best_shares[:, 0]
        rows = np.arange(n)[:, None]
        best = np.argsort(-largest_scores, axis=1, kind="stable")[:, :N_OF_TYPES]
        scores = shares[rows, best][:, :, None] * self.best_shares[best]
        # The items of a few types suffice for a score that so many items reach.
        of_few = scores[:, :N_OF_FEW].reshape(n, -1)
        place = max(of_few.shape[1] - N_CANDIDATES - n_in_cart, 0)
        lowest = np.partition(of_few, place, axis=1)[:, place]
        if best.shape[1] == N_OF_TYPES:
            lowest = np.maximum(lowest, largest_scores[rows[:, 0], best[:, -1]])
        place = np.flatnonzero((scores >= lowest[:, None, None]) & (scores > 0))
        row, of_row = np.divmod(place, scores[0].size)
        of_type, rank = np.divmod(of_row, N_OF_TYPES)
        items = self.best[best[row, of_type], rank]
        order = np.argsort(row * len(self.of_item) + items)
        return row[order], items[order], scores.ravel()[place[order]]


def of_next_stage(shares: np.ndarray) -> np.ndarray:
    """Columns of shares by stage, the last one for no stage, moved to the next stage; the last stage stays."""
    last = shares.shape[1] - 2
    return shares[:, [*range(1, last + 1), last, last + 1]]


class CheckoutIndex:
    """Catalogue, neighbours, shoppers, and the weights of one model for carts or for empty carts.

    tables: returns the relation of a checkout table by its name. Raises ValueError LS-CHK-002 without a model.
    """

    def __init__(self, tables: Callable[[str], duckdb.DuckDBPyRelation], month: str, kind: str, model: str):
        def rows_of_month(table: str, where: str = "true") -> duckdb.DuckDBPyRelation:
            return tables(table).filter(f"month = date '{month}' and {where}")

        def read(table: str, where: str = "true") -> Columns:
            return rows_of_month(table, where).order("all").fetchnumpy()

        self.first_day = date.fromisoformat(month)
        self.weights = weights_of(tables, self.first_day, kind, model)
        catalogue = tables("checkout_catalogue").order("item_no").fetchnumpy()
        self.item_ids, self.leaf_categories = catalogue["item_id"], catalogue["leaf_category"]
        self.position = {item_id: position for position, item_id in enumerate(self.item_ids)}
        settings = read("checkout_months")
        # Items that have left are candidates of the months before alone.
        self.is_available = catalogue["is_available"] | settings["is_closed"][0]
        self.half_life_days, self.n_new_places = settings["half_life_days"][0], int(settings["n_new_places"][0])
        items = read("checkout_items")
        self.is_new = items["is_new"]
        stages = [name for name in items if name.startswith("share_") and name != "share_of_type"]
        self.share = items["share"]
        self.shares = np.column_stack([items[name] for name in [*stages, "share"]])
        self.next_shares = of_next_stage(self.shares)
        all_items = np.arange(len(self.share))
        offered = all_items[self.is_available]
        self.popular = best_of(offered, self.share[offered])
        self.popular_in_stages = self.popular_of(offered)
        of_measures = {name: read("checkout_neighbours", f"measure = '{name}'") for name in MEASURES}
        self.neighbours = {name: neighbours_of(rows, len(all_items)) for name, rows in of_measures.items()}
        of_types = (read(f"checkout_{name}") for name in ("product_types", "type_neighbours"))
        self.types = ProductTypes(*of_types, items, stages, self.is_available)
        columns = [name.replace("share_", "p_") for name in stages]
        of_users = (rows_of_month(f"checkout_{name}") for name in ("habits", "browsing", "users"))
        self.shoppers = shoppers_of(*of_users, columns, month)

    def popular_of(self, items: np.ndarray) -> np.ndarray:
        """The most popular of the items in any stage."""
        return np.unique([best_of(items, share[items]) for share in self.shares.T])

    def positions(self, items: Collection[str | int]) -> np.ndarray:
        """The known ones of the items, each once."""
        found = (self.position.get(str(item)) for item in items)
        return np.unique(np.array([position for position in found if position is not None], int))

    def wanted(
        self, exclude: Collection[str], among: Collection[str] | None, categories: Collection[str] | None
    ) -> np.ndarray | None:
        """True for the available items that are wanted, as in recommend(); None: all."""
        if not exclude and among is None and categories is None:
            return None
        is_wanted = self.is_available.copy()
        if among is not None:
            is_listed = np.zeros(len(is_wanted), bool)
            is_listed[self.positions(among)] = True
            is_wanted &= is_listed
        if categories is not None:
            is_wanted &= np.isin(self.leaf_categories, list(map(str, categories)))
        is_wanted[self.positions(exclude)] = False
        return is_wanted

    def looked_at(self, shopper: Shoppers, items: np.ndarray) -> Shoppers:
        """The one shopper who has looked at the items too, each of which weighs as much as one of the newest month."""
        if not len(items):
            return shopper
        types, counts = np.unique(self.types.of_item[items], return_counts=True)
        known, strength = shopper.browsed
        all_types, index = np.unique(np.concatenate([known, types]), return_inverse=True)
        browsed = all_types, np.bincount(index, np.concatenate([strength, counts]), len(all_types))
        return replace(shopper, browsed=browsed, browsed_starts=np.array([0, len(all_types)]))

    def with_model(self, tables: Callable[[str], duckdb.DuckDBPyRelation], kind: str, model: str) -> "CheckoutIndex":
        """The same index with the weights of another model."""
        other = copy(self)
        other.weights = weights_of(tables, self.first_day, kind, model)
        return other


def weights_of(
    tables: Callable[[str], duckdb.DuckDBPyRelation], month: date, kind: str, model: str
) -> dict[str, object]:
    """The model's row of checkout_coefficients. Raises ValueError LS-CHK-002 without one."""
    condition = f"month = date '{month}' and kind = '{kind}' and model = '{model}'"
    weights = tables("checkout_coefficients").filter(condition).fetchnumpy()
    if not len(weights["month"]):
        raise ValueError(
            f"LS-CHK-002 there is no model {model} of {month}, of kind {kind}: choose one of checkout_coefficients"
        )
    return {name: column[0] for name, column in weights.items()}


def best_of(items: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The items of the highest scores, in catalogue order."""
    return np.sort(largest(np.zeros(len(items), int), items, scores, 1).item)


def neighbours_of(rows: Columns, n: int, number: str = "item_no") -> Neighbours:
    """Neighbours of n items, or types, from rows sorted by their number, as in checkout_neighbours."""
    score = rows["score" if number == "item_no" else "share"]
    return Neighbours(np.searchsorted(rows[number], np.arange(1, n + 2)), rows[f"other_{number}"] - 1, score)
