"""In-memory recommender: `Recommender.load(warehouse).recommend(cart, user)` equals the rankings of the warehouse.

Sources, columns and weights are those of checkout_candidates, checkout_examples and checkout_coefficients; a test holds
the two answers against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from time import perf_counter

import duckdb
import numpy as np

from life_stage_checkout.checkout_index import (
    HABITS,
    MEASURES,
    CheckoutIndex,
    Columns,
    Neighbours,
    Scores,
    Shopper,
    largest,
)
from life_stage_checkout.request_log import RequestLog

N_HABITS = 20  # as in checkout_query_items
N_RANKS = 20  # of which the last are kept for new items, as in checkout_rankings
GENERATORS = (
    "popular",
    "popular_in_stage",
    "habit",
    *(f"{name}_{context}" for name in MEASURES for context in ("cart", "history")),
)
READ = {"popularity", "frequency", "recency", "stage_lift", "next_stage_lift"}
READ |= {"recent_propensity", "repeat_share", "log_days_since_last", "replenishment_ratio", "replenishment_deviation"}
READ |= {f"{generator}{column}" for generator in GENERATORS for column in ("", "_rank_score")} | {
    f"{name}_each" for name in MEASURES
}
NOTHING: Scores = np.zeros(0, int), np.zeros(0)


@dataclass(frozen=True)
class Recommendation:
    """An item, how probable it is that it is wanted, and the generator that speaks most for it."""

    item_id: str
    probability: float
    reason: str


@dataclass(frozen=True)
class Recommender:
    """Recommends from what it remembers; it holds no file open and may be asked from several threads.

    With a log every request is noted in it: model, time and numbers of items, nothing of the user. for_empty answers
    when nothing in the cart is known. Raises ValueError LS-CHK-001 for a model that reads a column it does not know.
    """

    index: CheckoutIndex
    log: RequestLog | None = None
    for_empty: "Recommender | None" = None

    def __post_init__(self):
        weights = {name.removeprefix("w_"): value for name, value in self.index.weights.items() if name[:2] == "w_"}
        if unknown := sorted(name for name, weight in weights.items() if weight != 0 and name not in READ):
            raise ValueError(f"LS-CHK-001 the model reads {', '.join(unknown)}, which Recommender does not know")

    @cached_property
    def active_generators(self) -> set[str]:
        """The generators that the model reads anything of."""
        weights = self.index.weights
        columns = {name: (name, f"{name}_rank_score", f"{name.removesuffix('_cart')}_each") for name in GENERATORS}
        return {name for name in GENERATORS if any(weights.get(f"w_{column}", 0.0) != 0 for column in columns[name])}

    @classmethod
    def load(
        cls, warehouse: Path | str, month: str | None = None, model: str | None = None, log: RequestLog | None = None
    ) -> "Recommender":
        """Read what the newest run left: by default for the month to come, with the champions of carts and empty carts.

        A model that is named answers both. Of an earlier month habits are known of those in checkout_queries alone.
        Raises ValueError LS-CHK-002 where there is no such model, or no champion.
        """
        answering = "select kind, model from checkout_champions where month = cast(? as date)"
        if model:
            answering = "select kind, model from checkout_coefficients where month = cast(? as date) and model = ?"
        with duckdb.connect(str(warehouse), read_only=True) as session:
            ((to_come,),) = session.execute("select max(month)::varchar from checkout_months").fetchall()
            month = month or to_come
            chosen = dict(session.execute(answering, [month, model] if model else [month]).fetchall())
            if "cart" not in chosen:
                raise ValueError(f"LS-CHK-002 carts of {month} are not answered by {model or 'any model'}")
            index = CheckoutIndex(session.table, month, "cart", chosen["cart"])
            empty = cls(index.asking(session.table, "user", chosen["user"])) if "user" in chosen else None
        index.shoppers.named(None)  # so that the first question finds the names in order
        return cls(index, log, empty)

    def recommend(
        self,
        cart: Sequence[str],
        user: str | None = None,
        n: int = 10,
        bought: Sequence[tuple[str, date]] = (),
        on: date | None = None,
    ) -> list[Recommendation]:
        """The n items, at most N_RANKS, most probably wanted beside those in the cart; what is unknown says nothing.

        on: the day of the question, by default the month's first; bought: what the shopper bought from the month's
        first day until the day before, each item of each basket with its day; of other days nothing counts. There are
        fewer items where the model knows none. Raises ValueError LS-CHK-003 for a cart, n or day that cannot be meant.
        """
        start = perf_counter()
        index = self.index
        day = 0 if on is None else (on - index.first_day).days
        if isinstance(cart, str) or n < 0 or day < 0:
            raise ValueError(f"LS-CHK-003 {n} items on {on} for {type(cart).__name__}: known from {index.first_day}")
        shopper = index.shoppers.named(user)
        in_cart = np.unique(np.array([index.position[item] for item in cart if item in index.position], int))
        since = [(index.position[i], (taken - index.first_day).days) for i, taken in bought if i in index.position]
        since = [facts for facts in since if 0 <= facts[1] < day]
        queried = self if len(in_cart) or self.for_empty is None else self.for_empty
        best, odds, reasons, n_weighed = queried.ranked(in_cart, shopper, since, day)
        chances = 1 / (1 + np.exp(-odds[:n]))
        named = zip(index.item_ids[best[:n]], chances, np.array(GENERATORS)[reasons[:n]], strict=True)
        shown = [Recommendation(*facts) for facts in named]
        if self.log is not None:
            self.log.add(queried.index.weights["model"], (perf_counter() - start) * 1000, n_weighed, len(shown))
        return shown

    def ranked(
        self, cart: np.ndarray, shopper: Shopper, bought: list[tuple[int, int]], day: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """The best N_RANKS items (places in the catalogue), their log-odds, the numbers of the generators that speak most
        for them among those that name them, and how many items were weighed."""
        weights, habits = self.index.weights, self.habits(shopper.habits, bought, day)
        generators = self.generators(cart, shopper, habits)
        read = {name: named for name, named in generators.items() if weights[f"w_{name}"] != 0}
        offered = [items[scores > 0] for items, scores in read.values()]
        items = np.unique(np.concatenate([NOTHING[0], *offered]))
        contributions, is_named = np.zeros((len(GENERATORS), len(items))), np.zeros((len(GENERATORS), len(items)), bool)
        for name, (named, scores) in generators.items():
            number = GENERATORS.index(name)
            contribution = weights[f"w_{name}"] * np.log1p(scores)
            contribution += weights[f"w_{name}_rank_score"] / np.sqrt(np.arange(1, len(named) + 1))
            contribution += weights.get(f"w_{name.removesuffix('_cart')}_each", 0.0) * scores / max(len(cart), 1)
            at, is_weighed = found_in(items, named)
            contributions[number, at[is_weighed]] = contribution[is_weighed]
            is_named[number, at[is_weighed]] = name in read
        odds = self.log_odds(items, shopper, habits, day) + contributions.sum(axis=0)
        odds = exact(odds)  # processors differ in the last digit of a logarithm: ties stay ties
        order = self.with_new(items, np.lexsort((items, -odds)))[:N_RANKS]
        reasons = np.where(is_named, contributions, -np.inf)[:, order].argmax(axis=0)
        return items[order], odds[order], reasons, len(items)

    def habits(self, known: Columns, bought: list[tuple[int, int]], day: int) -> Columns:
        """As checkout_query_habits: habits of the month, aged to the day, and what was bought since; strongest first."""
        items, days = np.array(bought, int).reshape(-1, 2).T
        every, number = np.unique(np.concatenate([known["item"], items]), return_inverse=True)

        def decayed(days: np.ndarray | int, faster: int = 1) -> np.ndarray | float:
            return 0.5 ** (days * faster / self.index.half_life_days)

        def total(name: str, of_bought: np.ndarray, left: float = 1.0) -> np.ndarray:
            parts = np.concatenate([known[name] * left, of_bought])
            return np.bincount(number, exact(parts), len(every))

        found = {"item": every, "n_baskets": total("n_baskets", np.ones(len(items)))}
        found["score"] = total("score", decayed(day - days), decayed(day))
        found["recent_score"] = total("recent_score", decayed(day - days, 4), decayed(day, 4))
        found["first_on"], found["last_on"] = np.full((2, len(every)), [[np.inf], [-np.inf]])
        np.minimum.at(found["first_on"], number, np.concatenate([known["first_on"], days]))
        np.maximum.at(found["last_on"], number, np.concatenate([known["last_on"], days]))
        order = np.lexsort((every, -found["score"]))
        return {name: found[name][order] for name in ("item", *HABITS)}

    def generators(self, cart: np.ndarray, shopper: Shopper, habits: Columns) -> dict[str, Scores]:
        """By generator that is heard the best items that are not in the cart."""
        index, own, strength = self.index, habits["item"], habits["score"]
        found = {"popular": index.popular, "habit": (own, strength)}
        if shopper.stages is not None:
            popular = index.popular_in_stages
            found["popular_in_stage"] = popular, index.shares[popular] @ shopper.stages
        known = {"cart": (cart, np.ones(len(cart))), "history": (own[:N_HABITS], strength[:N_HABITS])}
        for measure, neighbours in index.neighbours.items():
            for context, (items, weights) in known.items():
                if f"{measure}_{context}" in self.active_generators:
                    found[f"{measure}_{context}"] = added_up(neighbours, items, weights)
        is_open = np.ones(len(index.share), bool)
        is_open[cart] = False
        return {
            name: largest(items[is_open[items]], scores[is_open[items]])
            for name, (items, scores) in found.items()
            if name in self.active_generators
        }

    def log_odds(self, items: np.ndarray, shopper: Shopper, habits: Columns, day: int) -> np.ndarray:
        """What speaks for the items beside their generators."""
        share, weights = self.index.share[items], self.index.weights
        odds = weights["intercept"] + weights["w_popularity"] * np.log(share)
        odds += weights["w_frequency"] * np.log1p(shopper.n_baskets) + weights["w_recency"] * shopper.recency
        if shopper.stages is not None:
            odds += weights["w_stage_lift"] * np.log(self.index.shares[items] @ shopper.stages / share)
            odds += weights["w_next_stage_lift"] * np.log(self.index.next_shares[items] @ shopper.stages / share)
        since, n_baskets = day - habits["last_on"], habits["n_baskets"]
        interval = (habits["last_on"] - habits["first_on"]) / np.maximum(n_baskets - 1, 1)
        ratio = np.log(0.05 + since / (interval + 3))
        own = (
            weights["w_recent_propensity"] * np.log1p(habits["recent_score"])
            + weights["w_repeat_share"] * n_baskets / (shopper.n_baskets + 2)
            + weights["w_log_days_since_last"] * np.log1p(since)
            + weights["w_replenishment_ratio"] * np.where(n_baskets > 1, ratio, 0.0)
            + weights["w_replenishment_deviation"] * np.where(n_baskets > 1, np.abs(ratio), 2.0)
        )
        order = np.argsort(habits["item"])
        at, is_habit = found_in(habits["item"][order], items)
        odds[is_habit] += own[order][at[is_habit]]
        odds[~is_habit] += 6.0 * weights["w_log_days_since_last"] + 2.0 * weights["w_replenishment_deviation"]
        return odds

    def with_new(self, items: np.ndarray, order: np.ndarray) -> np.ndarray:
        """The order of the items with the best of the new ones among the first twenty, as in checkout_rankings."""
        n_kept, rank = self.index.n_new_places, np.arange(1.0, len(order) + 1)
        new = np.flatnonzero(self.index.is_new[items[order]])[:n_kept]
        rank[new] = np.minimum(rank[new], N_RANKS - n_kept + np.arange(1, len(new) + 1) / (n_kept + 1))
        return order[np.argsort(rank)]


def exact(values: np.ndarray) -> np.ndarray:
    """As macro exact: multiples of 2^-36, whose sums are the same in any order."""
    return np.round(values * 2.0**36) / 2.0**36


def found_in(known: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Where each one stands in known, which is in order; whether it is there)."""
    at = np.searchsorted(known, wanted)
    is_there = at < len(known)
    is_there[is_there] = known[at[is_there]] == wanted[is_there]
    return at, is_there


def added_up(neighbours: Neighbours, items: np.ndarray, weights: np.ndarray) -> Scores:
    """The neighbours of several items, with the weighted sums of their scores."""
    spans = [slice(neighbours.starts[item], neighbours.starts[item + 1]) for item in items]
    if not spans:
        return NOTHING
    others, scores = (np.concatenate([column[s] for s in spans]) for column in (neighbours.others, neighbours.scores))
    parts = np.repeat(weights, neighbours.starts[items + 1] - neighbours.starts[items]) * scores
    names, number = np.unique(others, return_inverse=True)
    return names, np.bincount(number, exact(parts), len(names))
