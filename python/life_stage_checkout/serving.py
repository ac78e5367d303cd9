"""The checkout in memory: `Recommender.load(warehouse).recommend(cart, user)` answers as the warehouse would, at once.

The tables of one month are read and the warehouse is closed again. Sources, columns and weights are those of
checkout_candidates, checkout_examples and checkout_coefficients; a test holds the two answers against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np

N_CANDIDATES, N_HABITS = 50, 20  # as in checkout_candidates and checkout_case_items
MEASURES = ("together", "linear", "alike")
EXACT = 2.0**36  # as macro exact
Scores = tuple[np.ndarray, np.ndarray]  # places of items in the catalogue, and a number for each


@dataclass(frozen=True)
class Recommendation:
    """An item, how probable it is that it is wanted, and the source that speaks most for it."""

    item_id: str
    probability: float
    reason: str


@dataclass(frozen=True)
class Shopper:
    """What is known of a user: habits, shares of the stages and of no stage (None: unknown), frequency and recency."""

    habits: Scores = (np.zeros(0, int), np.zeros(0))
    stages: np.ndarray | None = None
    frequency: float = 0.0
    recency: float = 0.0


class Recommender:
    """What recommends in one month: the catalogue, what goes together, the shoppers, the weights of one model."""

    def __init__(self, session: duckdb.DuckDBPyConnection, month: str, model: str):
        def read(table: str, where: str = "true", order: str = "all") -> dict[str, np.ndarray]:
            rows = session.table(table).filter(f"{where}").order(order)
            return rows.filter(f"month = date '{month}'").fetchnumpy() if "month" in rows.columns else rows.fetchnumpy()

        self.weights = {
            k: v[0] for k, v in read("checkout_coefficients", f"kind = 'cart' and model = '{model}'").items()
        }
        self.item_ids = read("checkout_catalogue", order="item_no")["item_id"]
        self.place = {item_id: place for place, item_id in enumerate(self.item_ids)}
        items = read("checkout_items", order="item_no")
        stages = [name for name in items if name.startswith("share_")]
        self.share = items["share"]
        self.shares = np.column_stack([items[name] for name in [*stages, "share"]])
        older = [*range(1, len(stages)), len(stages) - 1, len(stages)]
        self.next_shares = self.shares[:, older]
        self.popular = largest(np.arange(len(self.share)), self.share)
        self.popular_in_stages = np.unique([largest(np.arange(len(s)), s)[0] for s in self.shares.T])
        self.neighbours = {
            name: neighbours_of(
                read("checkout_neighbours", f"measure = '{name}'", "item_no, other_item_no"), len(items["share"])
            )
            for name in MEASURES
        }
        habits, users = read("checkout_habits", order="user_id"), read("checkout_users")
        self.shoppers = shoppers_of(habits, users, [f"p_{name.removeprefix('share_')}" for name in stages])

    @classmethod
    def load(cls, warehouse: Path | str, month: str | None = None, model: str | None = None) -> "Recommender":
        """Read what the newest run left: by default for the month to come, with the champion of the carts."""
        with duckdb.connect(str(warehouse), read_only=True) as session:
            to_come = session.execute("select max(month)::varchar from checkout_months").fetchall()[0][0]
            champion = session.execute("select max(model) from checkout_champions where kind = 'cart'").fetchall()[0][0]
            return cls(session, month or to_come, model or champion)

    def recommend(self, cart: Sequence[str], user: str | None = None, n: int = 10) -> list[Recommendation]:
        """The n items most probably wanted beside those in the cart; items and users that are unknown say nothing."""
        shopper = self.shoppers.get(user, Shopper())
        sources = self.sources(np.array([self.place[item] for item in cart if item in self.place], int), shopper)
        spoken = np.zeros((len(sources), len(self.share)))
        is_offered = np.zeros(len(self.share), bool)
        for number, (name, (items, scores)) in enumerate(sources.items()):
            place = 1 / np.sqrt(np.arange(1, len(items) + 1))
            spoken[number, items] = (
                self.weights[f"w_{name}"] * np.log1p(scores) + self.weights[f"w_{name}_place"] * place
            )
            is_offered[items] |= self.weights[f"w_{name}"] != 0
        items = np.flatnonzero(is_offered)
        odds = self.log_odds(items, shopper) + spoken[:, items].sum(axis=0)
        best = np.lexsort((items, -odds))[:n]
        reasons = np.array(list(sources))[spoken[:, items[best]].argmax(axis=0)]
        chances = 1 / (1 + np.exp(-odds[best]))
        return [Recommendation(*facts) for facts in zip(self.item_ids[items[best]], chances, reasons, strict=True)]

    def sources(self, cart: np.ndarray, shopper: Shopper) -> dict[str, Scores]:
        """By source the best items that are not in the cart, as checkout_candidates has them."""
        habits, strength = shopper.habits
        history = habits[:N_HABITS], strength[:N_HABITS]
        found = {"popular": self.popular, "habit": shopper.habits}
        if shopper.stages is not None:
            found["popular_in_stage"] = self.popular_in_stages, self.shares[self.popular_in_stages] @ shopper.stages
        for measure, neighbours in self.neighbours.items():
            for place, (items, weights) in {"cart": (cart, np.ones(len(cart))), "history": history}.items():
                found[f"{measure}_{place}"] = added_up(neighbours, items, weights)
        in_cart = np.zeros(len(self.share), bool)
        in_cart[cart] = True
        return {
            name: largest(items[~in_cart[items]], scores[~in_cart[items]]) for name, (items, scores) in found.items()
        }

    def log_odds(self, items: np.ndarray, shopper: Shopper) -> np.ndarray:
        """What speaks for the items beside their sources."""
        known, weights = self.share[items], self.weights
        odds = weights["intercept"] + weights["w_popularity"] * np.log(known)
        odds += weights["w_frequency"] * shopper.frequency + weights["w_recency"] * shopper.recency
        if shopper.stages is not None:
            odds += weights["w_stage_lift"] * np.log(self.shares[items] @ shopper.stages / known)
            odds += weights["w_next_stage_lift"] * np.log(self.next_shares[items] @ shopper.stages / known)
        return odds


def largest(items: np.ndarray, scores: np.ndarray) -> Scores:
    """The N_CANDIDATES items of the highest scores, highest first; of equal ones the first of the catalogue."""
    order = np.lexsort((items, -scores))[:N_CANDIDATES]
    return items[order], scores[order]


def added_up(neighbours: tuple[np.ndarray, np.ndarray, np.ndarray], items: np.ndarray, weights: np.ndarray) -> Scores:
    """The neighbours of several items, with the weighted sums of their scores."""
    starts, others, scores = neighbours
    spans = [slice(starts[item], starts[item + 1]) for item in items]
    if not spans:
        return np.zeros(0, int), np.zeros(0)
    found = np.concatenate([others[span] for span in spans])
    parts = [np.round(w * scores[span] * EXACT) / EXACT for span, w in zip(spans, weights, strict=True)]
    names, number = np.unique(found, return_inverse=True)
    return names, np.bincount(number, np.concatenate(parts), len(names))


def neighbours_of(rows: dict[str, np.ndarray], n_items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first row of every item, places of the others, scores) of rows in the order of item_no."""
    return np.searchsorted(rows["item_no"], np.arange(1, n_items + 2)), rows["other_item_no"] - 1, rows["score"]


def shoppers_of(habits: dict[str, np.ndarray], users: dict[str, np.ndarray], stages: list[str]) -> dict[str, Shopper]:
    """Users by user_id; habits in the order of user_id."""
    order = np.lexsort((habits["item_no"], -habits["score"], habits["user_id"]))
    items, scores, ids = habits["item_no"][order] - 1, habits["score"][order], habits["user_id"][order]
    first, last = (np.searchsorted(ids, users["user_id"], side) for side in ("left", "right"))
    shares = np.column_stack([users[name] for name in stages])
    shares = np.column_stack([shares, 1 - shares.sum(axis=1)])
    frequency = np.log1p(users["n_baskets"])
    recency = np.log1p(np.ma.filled(users["recency_days"].astype(float), 0.0))
    return {
        user: Shopper(
            (items[first[n] : last[n]], scores[first[n] : last[n]]),
            None if users["stage"][n] == "unknown" else shares[n],
            frequency[n],
            recency[n],
        )
        for n, user in enumerate(users["user_id"])
    }
