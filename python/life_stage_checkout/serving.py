"""The checkout in memory: `Recommender.load(warehouse).recommend(cart, user)` answers as the warehouse would, at once.

Sources, columns and weights are those of checkout_candidates, checkout_examples and checkout_coefficients; a test holds
the two answers against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import duckdb
import numpy as np

from life_stage_checkout.memory import Memory, Neighbours, Scores, Shopper, largest
from life_stage_checkout.request_log import RequestLog

N_HABITS = 20  # as in checkout_case_items
EXACT = 2.0**36  # as macro exact


@dataclass(frozen=True)
class Recommendation:
    """An item, how probable it is that it is wanted, and the source that speaks most for it."""

    item_id: str
    probability: float
    reason: str


@dataclass(frozen=True)
class Recommender:
    """Recommends from what it remembers; it holds no file open and may be asked from several threads.

    With a log every request is noted in it: model, time and numbers of items, nothing of the user.
    """

    memory: Memory
    log: RequestLog | None = None

    @classmethod
    def load(
        cls, warehouse: Path | str, month: str | None = None, model: str | None = None, log: RequestLog | None = None
    ) -> "Recommender":
        """Read what the newest run left: by default for the month to come, with the champion of the carts."""
        with duckdb.connect(str(warehouse), read_only=True) as session:
            newest = "select max(month)::varchar, max(model) from checkout_months cross join checkout_champions"
            to_come, champion = session.execute(f"{newest} where kind = 'cart'").fetchall()[0]
            return cls(Memory(session, month or to_come, model or champion), log)

    def recommend(self, cart: Sequence[str], user: str | None = None, n: int = 10) -> list[Recommendation]:
        """The n items most probably wanted beside those in the cart; items and users that are unknown say nothing."""
        start = perf_counter()
        memory, shopper = self.memory, self.memory.shoppers.get(user, Shopper())
        weights = memory.weights
        in_cart = np.array([memory.place[item] for item in cart if item in memory.place], int)
        sources = self.sources(np.unique(in_cart), shopper)
        spoken, is_offered = np.zeros((len(sources), len(memory.share))), np.zeros(len(memory.share), bool)
        for number, (name, (items, scores)) in enumerate(sources.items()):
            place = 1 / np.sqrt(np.arange(1, len(items) + 1))
            spoken[number, items] = weights[f"w_{name}"] * np.log1p(scores) + weights[f"w_{name}_place"] * place
            is_offered[items] |= weights[f"w_{name}"] != 0
        items = np.flatnonzero(is_offered)
        odds = self.log_odds(items, shopper) + spoken[:, items].sum(axis=0)
        best = np.lexsort((items, -odds))[:n]
        reasons = np.array(list(sources))[spoken[:, items[best]].argmax(axis=0)]
        chances = 1 / (1 + np.exp(-odds[best]))
        shown = [Recommendation(*facts) for facts in zip(memory.item_ids[items[best]], chances, reasons, strict=True)]
        if self.log is not None:
            self.log.add(weights["model"], (perf_counter() - start) * 1000, len(items), len(shown))
        return shown

    def sources(self, cart: np.ndarray, shopper: Shopper) -> dict[str, Scores]:
        """By source the best items that are not in the cart."""
        memory, (habits, strength) = self.memory, shopper.habits
        found = {"popular": memory.popular, "habit": shopper.habits}
        if shopper.stages is not None:
            popular = memory.popular_in_stages
            found["popular_in_stage"] = popular, memory.shares[popular] @ shopper.stages
        known = {"cart": (cart, np.ones(len(cart))), "history": (habits[:N_HABITS], strength[:N_HABITS])}
        for measure, neighbours in memory.neighbours.items():
            for place, (items, weights) in known.items():
                found[f"{measure}_{place}"] = added_up(neighbours, items, weights)
        is_new = np.ones(len(memory.share), bool)
        is_new[cart] = False
        return {name: largest(items[is_new[items]], scores[is_new[items]]) for name, (items, scores) in found.items()}

    def log_odds(self, items: np.ndarray, shopper: Shopper) -> np.ndarray:
        """What speaks for the items beside their sources."""
        share, weights = self.memory.share[items], self.memory.weights
        odds = weights["intercept"] + weights["w_popularity"] * np.log(share)
        odds += weights["w_frequency"] * shopper.frequency + weights["w_recency"] * shopper.recency
        if shopper.stages is not None:
            odds += weights["w_stage_lift"] * np.log(self.memory.shares[items] @ shopper.stages / share)
            odds += weights["w_next_stage_lift"] * np.log(self.memory.next_shares[items] @ shopper.stages / share)
        return odds


def added_up(neighbours: Neighbours, items: np.ndarray, weights: np.ndarray) -> Scores:
    """The neighbours of several items, with the weighted sums of their scores."""
    spans = [slice(neighbours.starts[item], neighbours.starts[item + 1]) for item in items]
    if not spans:
        return np.zeros(0, int), np.zeros(0)
    others = np.concatenate([neighbours.others[span] for span in spans])
    parts = [np.round(w * neighbours.scores[span] * EXACT) / EXACT for span, w in zip(spans, weights, strict=True)]
    names, number = np.unique(others, return_inverse=True)
    return names, np.bincount(number, np.concatenate(parts), len(names))
