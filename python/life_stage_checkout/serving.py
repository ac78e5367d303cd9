"""In-memory recommender with the results of the warehouse: `Recommender.load(warehouse).recommend(cart, user)`.

Generators, columns and weights are those of checkout_candidates, checkout_examples and checkout_coefficients. A test
compares its recommendations with those of the warehouse.
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

N_BROWSED = 4  # weight of the overall shares beside what a shopper has looked at, as in checkout_type_scores
N_HABITS = 20  # as in checkout_query_items
N_RANKS = 20  # the last ones are reserved for new items, as in checkout_rankings
GENERATORS = (
    "popular",
    "popular_in_stage",
    "habit",
    *(f"{name}_{context}" for name in (*MEASURES, "type") for context in ("cart", "history")),
)
TYPE_COLUMNS = ("type_of_cart", "type_of_history", "type_browsed")
COLUMNS = {"popularity", "frequency", "recency", "stage_lift", "next_stage_lift"}
COLUMNS |= {*TYPE_COLUMNS, "share_of_type", "is_type_of_cart", "type_stage_lift", "next_type_stage_lift"}
COLUMNS |= {
    "recent_propensity",
    "repeat_share",
    "log_days_since_last",
    "replenishment_ratio",
    "replenishment_deviation",
}
COLUMNS |= {f"{generator}{column}" for generator in GENERATORS for column in ("", "_rank_score")} | {
    f"{name}_each" for name in MEASURES
}
NO_ITEMS: Scores = np.zeros(0, int), np.zeros(0)


@dataclass(frozen=True)
class Recommendation:
    """An item, its probability of relevance, and the generator with the largest contribution."""

    item_id: str
    probability: float
    reason: str


@dataclass(frozen=True)
class Recommender:
    """In-memory recommender. Thread-safe; opens no files after load().

    log: request log, without users; for_empty: the recommender of carts without a known item. Raises ValueError
    LS-CHK-001 for a model with an unknown column.
    """

    index: CheckoutIndex
    log: RequestLog | None = None
    for_empty: "Recommender | None" = None

    def __post_init__(self):
        weights = {name.removeprefix("w_"): value for name, value in self.index.weights.items() if name[:2] == "w_"}
        if unknown := sorted(name for name, weight in weights.items() if weight != 0 and name not in COLUMNS):
            raise ValueError(
                f"LS-CHK-001 the model uses {', '.join(unknown)}, which Recommender does not compute: load another "
                "model, or add the generator to GENERATORS"
            )

    @cached_property
    def active_generators(self) -> set[str]:
        """The generators with a nonzero weight in the model."""
        weights = self.index.weights
        columns = {name: (name, f"{name}_rank_score", f"{name.removesuffix('_cart')}_each") for name in GENERATORS}
        return {name for name in GENERATORS if any(weights.get(f"w_{column}", 0.0) != 0 for column in columns[name])}

    @classmethod
    def load(
        cls, warehouse: Path | str, month: str | None = None, model: str | None = None, log: RequestLog | None = None
    ) -> "Recommender":
        """The recommender of the newest run, by default for the coming month with the champions.

        model: used for carts and empty carts. For an earlier month, only users of checkout_queries have habits. Raises
        ValueError LS-CHK-002 if there is no such model, or no champion.
        """
        models = "select kind, model from checkout_champions where month = cast(? as date)"
        if model:
            models = "select kind, model from checkout_coefficients where month = cast(? as date) and model = ?"
        with duckdb.connect(str(warehouse), read_only=True) as session:
            ((coming_month,),) = session.execute("select max(month)::varchar from checkout_months").fetchall()
            month = month or coming_month
            chosen = dict(session.execute(models, [month, model] if model else [month]).fetchall())
            if "cart" not in chosen:
                raise ValueError(
                    f"LS-CHK-002 there is no {f'model {model}' if model else 'champion'} for carts of {month}: "
                    "choose model and month from "
                    "checkout_coefficients, or run the job with var checkout_months above 0"
                )
            index = CheckoutIndex(session.table, month, "cart", chosen["cart"])
            empty = cls(index.with_model(session.table, "user", chosen["user"])) if "user" in chosen else None
        index.shoppers.named(None)  # builds the index of ids before the first request
        return cls(index, log, empty)

    def recommend(
        self,
        cart: Sequence[str],
        user: str | None = None,
        n: int = 10,
        bought: Sequence[tuple[str, date]] = (),
        on: date | None = None,
    ) -> list[Recommendation]:
        """The n (at most N_RANKS) most probably relevant items for the cart; unknown items and users are ignored.

        on: day of the request (default: the month's first day); bought: the user's purchases from the month's first day
        to the day before `on`, each item of each basket with its day; other days are ignored. Returns fewer items
        without enough candidates. Raises ValueError LS-CHK-003 for an invalid cart, n or day.
        """
        start = perf_counter()
        index = self.index
        day = 0 if on is None else (on - index.first_day).days
        if isinstance(cart, str) or n < 0 or day < 0:
            raise ValueError(
                f"LS-CHK-003 {n} items on {on} for a cart of type {type(cart).__name__}: pass a list of item ids, n of "
                f"0 or more, and a day from {index.first_day}"
            )
        shopper = index.shoppers.named(user)
        in_cart = np.unique(np.array([index.position[item] for item in cart if item in index.position], int))
        recent = [(index.position[i], (taken - index.first_day).days) for i, taken in bought if i in index.position]
        recent = [facts for facts in recent if 0 <= facts[1] < day]
        recommender = self if len(in_cart) or self.for_empty is None else self.for_empty
        best, odds, reasons, n_candidates = recommender.ranked(in_cart, shopper, recent, day)
        probabilities = 1 / (1 + np.exp(-odds[:n]))
        columns = zip(index.item_ids[best[:n]], probabilities, np.array(GENERATORS)[reasons[:n]], strict=True)
        served = [Recommendation(*facts) for facts in columns]
        if self.log is not None:
            self.log.add(recommender.index.weights["model"], (perf_counter() - start) * 1000, n_candidates, len(served))
        return served

    def ranked(
        self, cart: np.ndarray, shopper: Shopper, bought: list[tuple[int, int]], day: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """The best N_RANKS items (catalogue indices), their log-odds, their reasons, and the number of candidates.

        The reason of an item is the index of the generator with the largest contribution among those that retrieve it.
        """
        weights, habits = self.index.weights, self.habits(shopper.habits, bought, day)
        type_shares = self.type_shares(cart, shopper)
        generators = self.generators(cart, shopper, habits, type_shares)
        retrieving = {name: retrieved for name, retrieved in generators.items() if weights[f"w_{name}"] != 0}
        candidates = [items[scores > 0] for items, scores in retrieving.values()]
        items = np.unique(np.concatenate([NO_ITEMS[0], *candidates]))
        contributions, is_retrieved = (np.zeros((len(GENERATORS), len(items)), kind) for kind in (float, bool))
        for name, (retrieved, scores) in generators.items():
            generator_no = GENERATORS.index(name)
            contribution = weights[f"w_{name}"] * np.log1p(scores)
            contribution += weights[f"w_{name}_rank_score"] / np.sqrt(np.arange(1, len(retrieved) + 1))
            contribution += weights.get(f"w_{name.removesuffix('_cart')}_each", 0.0) * scores / max(len(cart), 1)
            at, is_candidate = found_in(items, retrieved)
            contributions[generator_no, at[is_candidate]] = contribution[is_candidate]
            is_retrieved[generator_no, at[is_candidate]] = name in retrieving
        odds = self.log_odds(items, shopper, habits, day) + contributions.sum(axis=0)
        odds += self.log_odds_of_types(items, cart, shopper, type_shares)
        odds = exact(odds)  # processors differ in the last digit of a logarithm: ties stay ties
        order = self.with_new(items, np.lexsort((items, -odds)))[:N_RANKS]
        reasons = np.where(is_retrieved, contributions, -np.inf)[:, order].argmax(axis=0)
        return items[order], odds[order], reasons, len(items)

    def habits(self, known: Columns, bought: list[tuple[int, int]], day: int) -> Columns:
        """Habits as in checkout_query_habits, decayed to the day, plus new purchases; strongest first."""
        items, days = np.array(bought, int).reshape(-1, 2).T
        all_items, index = np.unique(np.concatenate([known["item"], items]), return_inverse=True)

        def decay(days: np.ndarray | int, rate: int = 1) -> np.ndarray | float:
            return 0.5 ** (days * rate / self.index.half_life_days)

        def total(name: str, added: np.ndarray, factor: float = 1.0) -> np.ndarray:
            parts = np.concatenate([known[name] * factor, added])
            return np.bincount(index, exact(parts), len(all_items))

        found = {"item": all_items, "n_baskets": total("n_baskets", np.ones(len(items)))}
        found["score"] = total("score", decay(day - days), decay(day))
        found["recent_score"] = total("recent_score", decay(day - days, 4), decay(day, 4))
        found["first_on"], found["last_on"] = np.full((2, len(all_items)), [[np.inf], [-np.inf]])
        np.minimum.at(found["first_on"], index, np.concatenate([known["first_on"], days]))
        np.maximum.at(found["last_on"], index, np.concatenate([known["last_on"], days]))
        order = np.lexsort((all_items, -found["score"]))
        return {name: found[name][order] for name in ("item", *HABITS)}

    def type_shares(self, cart: np.ndarray, shopper: Shopper) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shares of the product types given the cart, given what the shopper has looked at, and in that itself."""
        types = self.index.types
        (browsed, strength), (in_cart, n_items) = shopper.browsed, np.unique(types.of_item[cart], return_counts=True)

        def given(known: np.ndarray, weights: np.ndarray, n_prior: int) -> np.ndarray:
            seen_together = np.zeros(len(types.share))
            others, scores = weighted_neighbours(types.neighbours, known, weights)
            seen_together[others] = scores
            weight_of_all = exact(weights * types.prior_weight[known]).sum() + n_prior
            return (seen_together + weight_of_all * types.share) / (exact(weights).sum() + n_prior)

        own = N_BROWSED * types.share
        own[browsed] += strength
        own /= exact(strength).sum() + N_BROWSED
        of_cart = given(in_cart, n_items.astype(float), 0) if len(cart) else types.share
        return of_cart, given(browsed, strength, N_BROWSED), own

    def log_odds_of_types(
        self, items: np.ndarray, cart: np.ndarray, shopper: Shopper, type_shares: tuple[np.ndarray, ...]
    ) -> np.ndarray:
        """The part of the items' log-odds that comes from their product types."""
        types, weights = self.index.types, self.index.weights
        of_item = types.of_item[items]
        odds = weights["w_share_of_type"] * np.log(types.share_of_type[items])
        odds += weights["w_is_type_of_cart"] * np.isin(of_item, types.of_item[cart])
        for name, shares in zip(TYPE_COLUMNS, type_shares, strict=True):
            odds += weights[f"w_{name}"] * np.log(shares[of_item])
        if shopper.stages is not None:
            for name, shares in (("type_stage_lift", types.shares), ("next_type_stage_lift", types.next_shares)):
                odds += weights[f"w_{name}"] * np.log(shares[of_item] @ shopper.stages / types.share[of_item])
        return odds

    def generators(
        self, cart: np.ndarray, shopper: Shopper, habits: Columns, type_shares: tuple[np.ndarray, ...]
    ) -> dict[str, Scores]:
        """Candidates of each active generator, without the items in the cart."""
        index, own, strength = self.index, habits["item"], habits["score"]
        found = {"popular": index.popular, "habit": (own, strength)}
        if shopper.stages is not None:
            popular = index.popular_in_stages
            found["popular_in_stage"] = popular, index.shares[popular] @ shopper.stages
        known = {"cart": (cart, np.ones(len(cart))), "history": (own[:N_HABITS], strength[:N_HABITS])}
        for measure, neighbours in index.neighbours.items():
            for context, (items, weights) in known.items():
                if f"{measure}_{context}" in self.active_generators:
                    found[f"{measure}_{context}"] = weighted_neighbours(neighbours, items, weights)
        for context, shares in zip(("cart", "history"), type_shares[:2], strict=True):
            if f"type_{context}" in self.active_generators:
                found[f"type_{context}"] = index.types.candidates(shares)
        is_open = index.is_available.copy()
        is_open[cart] = False
        return {
            name: largest(items[is_open[items]], scores[is_open[items]])
            for name, (items, scores) in found.items()
            if name in self.active_generators
        }

    def log_odds(self, items: np.ndarray, shopper: Shopper, habits: Columns, day: int) -> np.ndarray:
        """Log-odds of the items without the contributions of generators."""
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
        """The order of the items with ranks reserved for new items, as in checkout_rankings."""
        n_kept, rank = self.index.n_new_places, np.arange(1.0, len(order) + 1)
        new = np.flatnonzero(self.index.is_new[items[order]])[:n_kept]
        rank[new] = np.minimum(rank[new], N_RANKS - n_kept + np.arange(1, len(new) + 1) / (n_kept + 1))
        return order[np.argsort(rank)]


def exact(values: np.ndarray) -> np.ndarray:
    """Values rounded to multiples of 2^-36, whose sums do not depend on the order; as macro exact."""
    return np.round(values * 2.0**36) / 2.0**36


def found_in(known: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Index of each value in the sorted array known; True if it is there)."""
    at = np.searchsorted(known, values)
    is_found = at < len(known)
    is_found[is_found] = known[at[is_found]] == values[is_found]
    return at, is_found


def weighted_neighbours(neighbours: Neighbours, items: np.ndarray, weights: np.ndarray) -> Scores:
    """The neighbours of several items, with the weighted sums of their scores."""
    spans = [slice(neighbours.starts[item], neighbours.starts[item + 1]) for item in items]
    if not spans:
        return NO_ITEMS
    others, scores = (np.concatenate([column[s] for s in spans]) for column in (neighbours.others, neighbours.scores))
    parts = np.repeat(weights, neighbours.starts[items + 1] - neighbours.starts[items]) * scores
    found, index = np.unique(others, return_inverse=True)
    return found, np.bincount(index, exact(parts), len(found))
