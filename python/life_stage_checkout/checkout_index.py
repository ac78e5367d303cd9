"""In-memory index of the checkout of one month, so that a recommendation reads no database.

Items are indices into the catalogue. Candidate generators and their sizes are those of checkout_candidates.
"""

from collections.abc import Callable, Collection
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property

import duckdb
import numpy as np

N_CANDIDATES = 50
N_OF_TYPES = 60  # best types of a query, and items of each, that can be candidates; as in checkout_candidates
MEASURES = ("together", "linear", "alike", "novel")
Scores = tuple[np.ndarray, np.ndarray]  # indices of items, and their scores
Columns = dict[str, np.ndarray]
HABITS = ("n_baskets", "score", "recent_score", "first_on", "last_on")
NO_HABITS = dict.fromkeys(HABITS, np.zeros(0)) | {"item": np.zeros(0, int)}


@dataclass(frozen=True)
class Shopper:
    """A user's features on the month's first day; habits as in checkout_habits, days counted from that day.

    browsed: product types, as in checkout_browsing; stages: shares of the stages and of none; None: unknown.
    """

    habits: Columns = field(default_factory=lambda: NO_HABITS)
    browsed: Scores = (np.zeros(0, int), np.zeros(0))
    stages: np.ndarray | None = None
    n_baskets: int = 0
    recency: float = 0.0


class Shoppers:
    """The users of a month in arrays; a Shopper is assembled on access."""

    def __init__(
        self,
        habits: duckdb.DuckDBPyRelation,
        browsing: duckdb.DuckDBPyRelation,
        users: duckdb.DuckDBPyRelation,
        stages: list[str],
        month: str,
    ):
        for name, rows in (("n_habits", habits), ("n_browsed", browsing)):
            users = users.join(rows.aggregate(f"user_id, count(*) as {name}", "user_id"), "user_id", how="left")
        facts = users.order("user_id").fetchnumpy()
        self.user_ids, self.n_baskets = facts["user_id"], facts["n_baskets"]
        self.starts, self.browsed_starts = (
            np.concatenate([[0], np.cumsum(np.ma.filled(facts[name], 0))]) for name in ("n_habits", "n_browsed")
        )
        known = browsing.join(users.project("user_id"), "user_id", how="semi").order("user_id, type_no")
        known = known.project("type_no - 1 as type, score").fetchnumpy()
        self.browsed = known["type"].astype(int), known["score"]
        days = (f"{name} - date '{month}' as {name}" if name.endswith("_on") else name for name in HABITS)
        rows = habits.order("user_id, item_no").project(f"item_no - 1 as item, {', '.join(days)}").fetchnumpy()
        self.habits = {name: rows[name].astype(int if name == "item" else float) for name in ("item", *HABITS)}
        shares = np.column_stack([facts[name] for name in stages])
        self.stages = np.column_stack([shares, 1 - shares.sum(axis=1)])
        self.is_known = facts["stage"] != "unknown"
        self.recency = np.log1p(np.ma.filled(facts["recency_days"].astype(float), 0.0))

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {user: position for position, user in enumerate(self.user_ids)}

    def __getitem__(self, number: int) -> Shopper:
        rows = slice(self.starts[number], self.starts[number + 1])
        habits = {name: column[rows] for name, column in self.habits.items()}
        stages = self.stages[number] if self.is_known[number] else None
        types, scores = (part[self.browsed_starts[number] : self.browsed_starts[number + 1]] for part in self.browsed)
        return Shopper(habits, (types, scores), stages, int(self.n_baskets[number]), float(self.recency[number]))

    def knows(self, user: str) -> bool:
        """True if the user has features."""
        return user in self._positions

    def named(self, user: str | int | None) -> Shopper:
        """The user's features; those of a cold-start user for an unknown id."""
        position = None if user is None else self._positions.get(str(user))
        return Shopper() if position is None else self[position]


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of each item: rows starts[item] to starts[item + 1] of others and scores."""

    starts: np.ndarray
    others: np.ndarray
    scores: np.ndarray

    def of(self, items: np.ndarray, weights: np.ndarray) -> Scores:
        """The neighbours of several items, one after the other, with their weighted scores."""
        starts, lengths = self.starts[items], self.starts[items + 1] - self.starts[items]
        rows = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        return self.others[rows], np.repeat(weights, lengths) * self.scores[rows]


class ProductTypes:
    """Product types of a month: their shares, which are seen together, and the items of each that are seen most."""

    def __init__(
        self, types: Columns, neighbours: Columns, items: Columns, stages: list[str], is_available: np.ndarray
    ):
        self.share, self.prior_weight, self.leaf = types["share"], types["prior_weight"], types["leaf_no"]
        self.shares = np.column_stack([types[name] for name in [*stages, "share"]])
        self.next_shares = of_next_stage(self.shares)
        self.neighbours = neighbours_of(neighbours, len(self.share), "type_no")
        self.of_item, self.share_of_type = items["type_no"].astype(int) - 1, items["share_of_type"]
        order = np.lexsort((np.arange(len(self.of_item)), -self.share_of_type, self.of_item))
        order = order[is_available[order]]
        starts = np.searchsorted(self.of_item[order], np.arange(len(self.share) + 1))
        order = order[np.arange(len(order)) - starts[self.of_item[order]] < N_OF_TYPES]
        starts = np.searchsorted(self.of_item[order], np.arange(len(self.share) + 1))
        self.items = Neighbours(starts, order, self.share_of_type[order])
        self.largest_share = np.zeros(len(self.share))
        np.maximum.at(self.largest_share, self.of_item[order], self.share_of_type[order])

    def next_needs(self, browsed: np.ndarray, in_cart: np.ndarray) -> np.ndarray:
        """True for the types of leaf categories of which no type was looked at or put into the cart."""
        return ~np.isin(self.leaf, self.leaf[np.concatenate([browsed, in_cart])])

    def candidates(self, shares: np.ndarray, items: np.ndarray | None = None) -> Scores:
        """Items of the types with the largest shares, with the share of each item; of the given items, where given."""
        if items is not None:
            items = items[shares[self.of_item[items]] > 0]
            return items, shares[self.of_item[items]] * self.share_of_type[items]
        largest_scores = shares * self.largest_share
        best = np.lexsort((np.arange(len(shares)), -largest_scores))[:N_OF_TYPES]
        items, scores = self.items.of(best, shares[best])
        is_high = scores >= (largest_scores[best[-1]] if len(best) == N_OF_TYPES else 0)
        is_high &= scores > 0
        return items[is_high], scores[is_high]


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
        self.popular = largest(offered, self.share[offered])
        self.popular_in_stages = self.popular_of(offered)
        of_measures = (read("checkout_neighbours", f"measure = '{name}'") for name in MEASURES)
        self.neighbours = neighbours_by_measure([neighbours_of(rows, len(all_items)) for rows in of_measures])
        of_types = (read(f"checkout_{name}") for name in ("product_types", "type_neighbours"))
        self.types = ProductTypes(*of_types, items, stages, self.is_available)
        columns = [name.replace("share_", "p_") for name in stages]
        of_users = (rows_of_month(f"checkout_{name}") for name in ("habits", "browsing", "users"))
        self.shoppers = Shoppers(*of_users, columns, month)

    def popular_of(self, items: np.ndarray) -> np.ndarray:
        """The most popular of the items in any stage."""
        return np.unique([largest(items, share[items])[0] for share in self.shares.T])

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

    def looked_at(self, shopper: Shopper, items: np.ndarray) -> Shopper:
        """The shopper who has looked at the items too, each of which weighs as much as one of the newest month."""
        if not len(items):
            return shopper
        types, counts = np.unique(self.types.of_item[items], return_counts=True)
        known, strength = shopper.browsed
        all_types, index = np.unique(np.concatenate([known, types]), return_inverse=True)
        browsed = all_types, np.bincount(index, np.concatenate([strength, counts]), len(all_types))
        return replace(shopper, browsed=browsed)

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


def largest(items: np.ndarray, scores: np.ndarray) -> Scores:
    """The N_CANDIDATES items of the highest scores, highest first; ties in catalogue order."""
    if len(items) > 10 * N_CANDIDATES:  # sorting all would take most of the time of an answer
        is_high = scores >= np.partition(scores, -N_CANDIDATES)[-N_CANDIDATES]
        items, scores = items[is_high], scores[is_high]
    order = np.lexsort((items, -scores))[:N_CANDIDATES]
    return items[order], scores[order]


def neighbours_of(rows: Columns, n: int, number: str = "item_no") -> Neighbours:
    """Neighbours of n items, or types, from rows sorted by their number, as in checkout_neighbours."""
    score = rows["score" if number == "item_no" else "share"]
    return Neighbours(np.searchsorted(rows[number], np.arange(1, n + 2)), rows[f"other_{number}"] - 1, score)


def neighbours_by_measure(parts: list[Neighbours]) -> Neighbours:
    """Neighbours by several measures in one: of n items, item i by the measure m has the number m * n + i."""
    n, lengths = len(parts[0].starts) - 1, np.cumsum([0, *(len(part.others) for part in parts)])
    return Neighbours(
        np.concatenate(
            [*(part.starts[:-1] + start for part, start in zip(parts, lengths, strict=False)), lengths[-1:]]
        ),
        np.concatenate([part.others + number * n for number, part in enumerate(parts)]),
        np.concatenate([part.scores for part in parts]),
    )
