"""In-memory index of one month's checkout: arrays that are read once, so that recommending needs no database.

Items are numbered by their place in the catalogue. Sources and their sizes are those of checkout_candidates.
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
Scores = tuple[np.ndarray, np.ndarray]  # places of items, and a number for each
Columns = dict[str, np.ndarray]
HABITS = ("n_baskets", "score", "recent_score", "first_on", "last_on")
NO_HABITS = dict.fromkeys(HABITS, np.zeros(0)) | {"item": np.zeros(0, int)}


@dataclass(frozen=True)
class Shopper:
    """What is known of a user on the month's first day; habits as in checkout_habits, days counted from that day.

    stages: shares of the stages and of none; None: unknown.
    """

    habits: Columns = field(default_factory=lambda: NO_HABITS)
    stages: np.ndarray | None = None
    n_baskets: int = 0
    recency: float = 0.0


class Shoppers:
    """The users of a month in arrays: a shopper is put together when asked for."""

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
    def _numbers(self) -> dict[str, int]:
        return {user: number for number, user in enumerate(self.user_ids)}

    def __getitem__(self, number: int) -> Shopper:
        rows = slice(self.starts[number], self.starts[number + 1])
        habits = {name: column[rows] for name, column in self.habits.items()}
        stages = self.stages[number] if self.is_known[number] else None
        return Shopper(habits, stages, int(self.n_baskets[number]), float(self.recency[number]))

    def named(self, user: str | None) -> Shopper:
        """A stranger where nobody is known by that name."""
        number = self._numbers.get(user)
        return Shopper() if number is None else self[number]


@dataclass(frozen=True)
class Neighbours:
    """Of every item those that go with it: rows starts[item] to starts[item + 1] of others and scores."""

    starts: np.ndarray
    others: np.ndarray
    scores: np.ndarray


class CheckoutIndex:
    """The catalogue, what goes together, the shoppers, and the weights of one model of carts or of empty carts.

    tables: gives the relation of a table of the checkout by its name. Raises ValueError LS-CHK-002 for want of a model.
    """

    def __init__(self, tables: Callable[[str], duckdb.DuckDBPyRelation], month: str, kind: str, model: str):
        def of_month(table: str, where: str = "true") -> duckdb.DuckDBPyRelation:
            return tables(table).filter(f"month = date '{month}' and {where}")

        def read(table: str, where: str = "true") -> Columns:
            return of_month(table, where).order("all").fetchnumpy()

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
        everything = np.arange(len(self.share))
        self.popular = largest(everything, self.share)
        self.popular_in_stages = np.unique([largest(everything, share)[0] for share in self.shares.T])
        self.neighbours = {
            name: neighbours_of(read("checkout_neighbours", f"measure = '{name}'"), len(everything))
            for name in MEASURES
        }
        columns = [name.replace("share_", "p_") for name in stages]
        self.shoppers = Shoppers(of_month("checkout_habits"), of_month("checkout_users"), columns, month)

    def asking(self, tables: Callable[[str], duckdb.DuckDBPyRelation], kind: str, model: str) -> "CheckoutIndex":
        """The same with the weights of another model."""
        other = copy(self)
        other.weights = weights_of(tables, self.first_day, kind, model)
        return other


def weights_of(
    tables: Callable[[str], duckdb.DuckDBPyRelation], month: date, kind: str, model: str
) -> dict[str, object]:
    """The row of checkout_coefficients. Raises ValueError LS-CHK-002 where there is none."""
    wanted = f"month = date '{month}' and kind = '{kind}' and model = '{model}'"
    weights = tables("checkout_coefficients").filter(wanted).fetchnumpy()
    if not len(weights["month"]):
        raise ValueError(f"LS-CHK-002 there is no model {model} of {month}, of kind {kind}")
    return {name: column[0] for name, column in weights.items()}


def largest(items: np.ndarray, scores: np.ndarray) -> Scores:
    """The N_CANDIDATES items of the highest scores, highest first; of equal ones the first of the catalogue."""
    order = np.lexsort((items, -scores))[:N_CANDIDATES]
    return items[order], scores[order]


def neighbours_of(rows: Columns, n_items: int) -> Neighbours:
    """From rows of checkout_neighbours in the order of item_no."""
    return Neighbours(
        np.searchsorted(rows["item_no"], np.arange(1, n_items + 2)), rows["other_item_no"] - 1, rows["score"]
    )
