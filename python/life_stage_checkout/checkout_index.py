"""In-memory index of the checkout of one month, so that a recommendation reads no database.

Items are indices into the catalogue. Candidate generators and their sizes are those of checkout_candidates.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import duckdb
import numpy as np

N_CANDIDATES = 50
MEASURES = ("together", "linear", "alike", "novel")
Scores = tuple[np.ndarray, np.ndarray]  # indices of items, and their scores
Columns = dict[str, np.ndarray]
HABITS = ("n_baskets", "score", "recent_score", "first_on", "last_on")
NO_HABITS = dict.fromkeys(HABITS, np.zeros(0)) | {"item": np.zeros(0, int)}


@dataclass(frozen=True)
class Shopper:
    """A user's features on the month's first day; habits as in checkout_habits, days counted from that day.

    stages: shares of the stages and of none; None: unknown.
    """

    habits: Columns = field(default_factory=lambda: NO_HABITS)
    stages: np.ndarray | None = None
    n_baskets: int = 0
    recency: float = 0.0


class Shoppers:
    """The users of a month in arrays; a Shopper is assembled on access."""

    def __init__(self, habits: duckdb.DuckDBPyRelation, users: duckdb.DuckDBPyRelation, stages: list[str], month: str):
        n_habits = habits.aggregate("user_id, count(*) as n_habits", "user_id")
        facts = users.join(n_habits, "user_id", how="left").order("user_id").fetchnumpy()
        self.user_ids, self.n_baskets = facts["user_id"], facts["n_baskets"]
        self.starts = np.concatenate([[0], np.cumsum(np.ma.filled(facts["n_habits"], 0))])
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
        return Shopper(habits, stages, int(self.n_baskets[number]), float(self.recency[number]))

    def named(self, user: str | None) -> Shopper:
        """The user's features; those of a cold-start user for an unknown id."""
        position = self._positions.get(user)
        return Shopper() if position is None else self[position]


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of each item: rows starts[item] to starts[item + 1] of others and scores."""

    starts: np.ndarray
    others: np.ndarray
    scores: np.ndarray


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
        self.item_ids = tables("checkout_catalogue").order("item_no").fetchnumpy()["item_id"]
        self.position = {item_id: position for position, item_id in enumerate(self.item_ids)}
        settings = read("checkout_months")
        self.half_life_days, self.n_new_places = settings["half_life_days"][0], int(settings["n_new_places"][0])
        items = read("checkout_items")
        self.is_new = items["is_new"]
        stages = [name for name in items if name.startswith("share_")]
        self.share = items["share"]
        self.shares = np.column_stack([items[name] for name in [*stages, "share"]])
        self.next_shares = self.shares[:, [*range(1, len(stages)), len(stages) - 1, len(stages)]]
        all_items = np.arange(len(self.share))
        self.popular = largest(all_items, self.share)
        self.popular_in_stages = np.unique([largest(all_items, share)[0] for share in self.shares.T])
        self.neighbours = {
            name: neighbours_of(read("checkout_neighbours", f"measure = '{name}'"), len(all_items)) for name in MEASURES
        }
        columns = [name.replace("share_", "p_") for name in stages]
        self.shoppers = Shoppers(rows_of_month("checkout_habits"), rows_of_month("checkout_users"), columns, month)

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
    order = np.lexsort((items, -scores))[:N_CANDIDATES]
    return items[order], scores[order]


def neighbours_of(rows: Columns, n_items: int) -> Neighbours:
    """Neighbours from rows of checkout_neighbours sorted by item_no."""
    return Neighbours(
        np.searchsorted(rows["item_no"], np.arange(1, n_items + 2)), rows["other_item_no"] - 1, rows["score"]
    )
