"""In-memory recommender with the results of a run: `Recommender.load("published").recommend(cart, user)`.

Generators, columns and weights are those of checkout_candidates, checkout_examples and checkout_coefficients. A test
compares its recommendations with those of the warehouse. `life-stage serve` answers over HTTP with it.
"""

import glob
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import duckdb
import numpy as np

from life_stage.paths import SERVING
from life_stage_checkout.checkout_index import (
    HABITS,
    MEASURES,
    N_CANDIDATES,
    CheckoutIndex,
    Columns,
    Scores,
    Shopper,
    largest,
)
from life_stage_checkout.request_log import RequestLog

N_BROWSED = 4  # weight of the overall shares beside what a shopper has looked at, as in checkout_type_scores
N_HABITS = 20  # as in checkout_query_items
RANK_OF_NEEDS = 9.5  # the tenth, as in checkout_rankings
N_RANKS = 20  # the last ones are reserved for new items, as in checkout_rankings
GENERATORS = (
    "popular",
    "popular_in_stage",
    "habit",
    *(f"{name}_{context}" for name in (*MEASURES, "type") for context in ("cart", "history")),
    "type_need",
)
NEED = GENERATORS.index("type_need")
COLUMNS = {"popularity", "frequency", "recency", "stage_lift", "next_stage_lift"}
COLUMNS |= {
    "type_of_cart",
    "type_of_history",
    "type_browsed",
    "share_of_type",
    "is_type_of_cart",
    "type_stage_lift",
    "next_type_stage_lift",
}
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
RANK_SCORES = 1 / np.sqrt(np.arange(1.0, N_CANDIDATES + 1))
NO_ITEMS: Scores = np.zeros(0, int), np.zeros(0)


class TypeShares(NamedTuple):
    """Shares of the product types, as in checkout_type_scores.

    cart: given the cart; history: given what the shopper has looked at; browsed: in that itself; need: history of the
    next needs, 0 for all other types.
    """

    cart: np.ndarray
    history: np.ndarray
    browsed: np.ndarray
    need: np.ndarray


@dataclass(frozen=True)
class Recommendation:
    """An item, its probability of relevance, the generator with the largest contribution, and the price of one unit."""

    item_id: str
    probability: float
    reason: str
    price: float | None


@dataclass(frozen=True)
class Recommender:
    """In-memory recommender. Thread-safe; opens no files after load().

    log: request log, without users; for_empty: the recommender of carts without a known item; prices: of the index's
    items, NaN if unknown, for recommend(). Raises ValueError LS-CHK-001 for a model with an unknown column.
    """

    index: CheckoutIndex
    log: RequestLog | None = None
    for_empty: "Recommender | None" = None
    prices: np.ndarray | None = None

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
        is_active = self.generator_weights.any(axis=0)
        return {name for name, active in zip(GENERATORS, is_active, strict=True) if active}

    @cached_property
    def has_place_for_need(self) -> bool:
        """True if a rank is for a next need, as in checkout_rankings."""
        return self.index.weights["kind"] == "user" and self.index.weights["model"].startswith("hybrid")

    @cached_property
    def generator_weights(self) -> np.ndarray:
        """Weights of a generator's score, rank score and score an item of the cart, by row; columns as GENERATORS."""
        columns = [(name, f"{name}_rank_score", f"{name.removesuffix('_cart')}_each") for name in GENERATORS]
        return np.array([[self.index.weights.get(f"w_{name}", 0.0) for name in names] for names in columns]).T

    @classmethod
    def load(
        cls, place: Path | str, month: str | None = None, model: str | None = None, log: RequestLog | None = None
    ) -> "Recommender":
        """The recommender of a published set or a warehouse, by default for the coming month with the champions.

        model: used for carts and empty carts. A published set has the coming month alone; for an earlier one, only
        users of checkout_queries have habits. Raises ValueError LS-CHK-002 if there is no such model, or no champion,
        LS-CHK-004 if the set has no tables for it.
        """
        with tables_of(Path(place)) as tables:
            ((coming_month,),) = tables("checkout_months").aggregate("max(month)::varchar").fetchall()
            month = month or coming_month
            models = tables("checkout_coefficients" if model else "checkout_champions").project("month, kind, model")
            of_month = (row[1:] for row in models.fetchall() if str(row[0]) == month and model in (None, row[2]))
            chosen = dict(of_month)
            if "cart" not in chosen:
                raise ValueError(
                    f"LS-CHK-002 there is no {f'model {model}' if model else 'champion'} for carts of {month}: "
                    "choose model and month from "
                    "checkout_coefficients, or run the job with var checkout_months above 0"
                )
            index = CheckoutIndex(tables, month, "cart", chosen["cart"])
            by_item = dict(tables("items").filter("price is not null").project("item_id, price").fetchall())
            prices = np.array([by_item.get(item, np.nan) for item in index.item_ids])
            empty = cls(index.with_model(tables, "user", chosen["user"])) if "user" in chosen else None
        index.shoppers.knows("")  # builds the index of ids before the first request
        return cls(index, log, empty, prices)

    def recommend(
        self,
        cart: Sequence[str],
        user: str | int | None = None,
        n: int = 10,
        bought: Sequence[tuple[str, date]] = (),
        on: date | None = None,
        visit: Sequence[str] = (),
        exclude: Collection[str] = (),
        among: Collection[str] | None = None,
        categories: Collection[str] | None = None,
        min_price: float | None = None,
        max_price: float | None = None,
    ) -> list[Recommendation]:
        """The n (at most N_RANKS) most probably relevant items for the cart; unknown items and users are ignored.

        Ids are those of the published tables, as texts or whole numbers.

        on: day of the request (default: the month's first day); bought: the user's purchases from the month's first day
        to the day before `on`, each item of each basket with its day; other days are ignored. visit: items looked at in
        this visit. Only items of `among`, of the leaf categories and with a known price within the limits are
        recommended, where given, none of `exclude`. Returns fewer items without enough candidates. Raises ValueError
        LS-CHK-003 for an invalid cart, n or day.
        """
        start = perf_counter()
        index = self.index
        day = 0 if on is None else (on - index.first_day).days
        if isinstance(cart, str) or n < 0 or day < 0:
            raise ValueError(
                f"LS-CHK-003 {n} items on {on} for a cart of type {type(cart).__name__}: pass a list of item ids, n of "
                f"0 or more, and a day from {index.first_day}"
            )
        shopper = index.looked_at(index.shoppers.named(user), index.positions(visit))
        in_cart, wanted = index.positions(cart), index.wanted(exclude, among, categories)
        if min_price is not None or max_price is not None:
            highest = np.inf if max_price is None else max_price
            is_within = (self.prices >= (min_price or 0)) & (self.prices <= highest)
            wanted = is_within & (index.is_available if wanted is None else wanted)
        dated = ((index.position.get(str(item)), (taken - index.first_day).days) for item, taken in bought)
        recent = [facts for facts in dated if facts[0] is not None and 0 <= facts[1] < day]
        recommender = self.used_for(cart)
        best, odds, reasons, n_candidates = recommender.ranked(in_cart, shopper, recent, day, wanted)
        probabilities = 1 / (1 + np.exp(-odds[:n]))
        known_prices = (None if np.isnan(price) else price for price in self.prices[best[:n]].tolist())
        names = (GENERATORS[reason] for reason in reasons[:n])
        columns = zip(index.item_ids[best[:n]], probabilities.tolist(), names, known_prices, strict=True)
        served = [Recommendation(*facts) for facts in columns]
        if self.log is not None:
            self.log.add(recommender.index.weights["model"], (perf_counter() - start) * 1000, n_candidates, len(served))
        return served

    def used_for(self, cart: Collection[str]) -> "Recommender":
        """The recommender of the cart: that of empty carts if no item of it is known."""
        is_known = len(self.index.positions(cart)) > 0
        return self if is_known or self.for_empty is None else self.for_empty

    def ranked(
        self,
        cart: np.ndarray,
        shopper: Shopper,
        bought: list[tuple[int, int]],
        day: int,
        wanted: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """The best N_RANKS items (catalogue indices), their log-odds, their reasons, and the number of candidates.

        wanted: true for the items that may be recommended; None: all that are available. The reason of an item is the
        index of the generator with the largest contribution among those that retrieve it; of a next need in a list
        with a place for one, type_need.
        """
        habits = self.habits(shopper.habits, bought, day)
        type_shares = self.type_shares(cart, shopper)
        generators = self.generators(cart, shopper, habits, type_shares, wanted)
        # All candidates in one row after the other: one array is faster than one a generator.
        retrieved, scores = (np.concatenate(parts) for parts in zip(NO_ITEMS, *generators.values(), strict=True))
        numbers, lengths = [GENERATORS.index(name) for name in generators], [len(it) for it, _ in generators.values()]
        generator = np.repeat(np.array(numbers, int), lengths)
        rank_scores = np.concatenate([NO_ITEMS[1], *(RANK_SCORES[:length] for length in lengths)])
        weight, rank_weight, each_weight = self.generator_weights[:, generator]
        items = np.unique(retrieved[(weight != 0) & (scores > 0)])
        at, is_candidate = found_in(items, retrieved)
        contribution = weight * np.log1p(scores) + rank_weight * rank_scores + each_weight * scores / max(len(cart), 1)
        contributions = np.zeros((len(GENERATORS), len(items)))
        contributions[generator[is_candidate], at[is_candidate]] = contribution[is_candidate]
        is_retrieving = is_candidate & (weight != 0)
        is_retrieved = np.zeros(contributions.shape, bool)
        is_retrieved[generator[is_retrieving], at[is_retrieving]] = True
        odds = self.log_odds(items, shopper, habits, day) + contributions.sum(axis=0)
        odds += self.log_odds_of_types(items, cart, shopper, type_shares)
        odds = exact(odds)  # processors differ in the last digit of a logarithm: ties stay ties
        is_need = type_shares.need[self.index.types.of_item[items]] > 0
        order = self.with_reserved(items, np.lexsort((items, -odds)), is_need)[:N_RANKS]
        reasons = np.where(is_retrieved[:, order], contributions[:, order], -np.inf).argmax(axis=0)
        if self.has_place_for_need:
            reasons[is_need[order] & is_retrieved[NEED, order]] = NEED
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

    def type_shares(self, cart: np.ndarray, shopper: Shopper) -> TypeShares:
        """Shares of the product types."""
        types = self.index.types
        (browsed, strength), (in_cart, n_items) = shopper.browsed, np.unique(types.of_item[cart], return_counts=True)

        def given(known: np.ndarray, weights: np.ndarray, n_prior: int) -> np.ndarray:
            others, scores = types.neighbours.of(known, weights)
            seen_together = np.bincount(others, exact(scores), len(types.share))
            weight_of_all = exact(weights * types.prior_weight[known]).sum() + n_prior
            return (seen_together + weight_of_all * types.share) / (exact(weights).sum() + n_prior)

        own = N_BROWSED * types.share
        own[browsed] += strength
        own /= exact(strength).sum() + N_BROWSED
        of_cart = given(in_cart, n_items.astype(float), 0) if len(cart) else types.share
        of_history = given(browsed, strength, N_BROWSED)
        return TypeShares(of_cart, of_history, own, of_history * types.next_needs(browsed, in_cart))

    def log_odds_of_types(
        self, items: np.ndarray, cart: np.ndarray, shopper: Shopper, type_shares: TypeShares
    ) -> np.ndarray:
        """The part of the items' log-odds that comes from their product types."""
        types, weights = self.index.types, self.index.weights
        of_item = types.of_item[items]
        odds = weights["w_share_of_type"] * np.log(types.share_of_type[items])
        odds += weights["w_is_type_of_cart"] * np.isin(of_item, types.of_item[cart])
        odds += weights["w_type_of_cart"] * np.log(type_shares.cart[of_item])
        odds += weights["w_type_of_history"] * np.log(type_shares.history[of_item])
        odds += weights["w_type_browsed"] * np.log(type_shares.browsed[of_item])
        if shopper.stages is not None:
            for name, shares in (("type_stage_lift", types.shares), ("next_type_stage_lift", types.next_shares)):
                odds += weights[f"w_{name}"] * np.log(shares[of_item] @ shopper.stages / types.share[of_item])
        return odds

    def generators(
        self,
        cart: np.ndarray,
        shopper: Shopper,
        habits: Columns,
        type_shares: TypeShares,
        wanted: np.ndarray | None = None,
    ) -> dict[str, Scores]:
        """Candidates of each active generator, without the items in the cart."""
        index, own, strength = self.index, habits["item"], habits["score"]
        # Among few items the most popular of all may be none.
        among = None if wanted is None else np.flatnonzero(wanted)
        popular = index.popular if among is None else largest(among, index.share[among])
        found = {"popular": popular, "habit": (own, strength)}
        if shopper.stages is not None:
            popular = index.popular_in_stages if among is None else index.popular_of(among)
            found["popular_in_stage"] = popular, index.shares[popular] @ shopper.stages
        known = {"cart": (cart, np.ones(len(cart))), "history": (own[:N_HABITS], strength[:N_HABITS])}
        for context, (items, weights) in known.items():
            found |= self.weighted_neighbours(context, items, weights)
        for context in ("cart", "history", "need"):
            if f"type_{context}" in self.active_generators:
                found[f"type_{context}"] = index.types.candidates(getattr(type_shares, context), among)
        is_open = (index.is_available if wanted is None else wanted).copy()
        is_open[cart] = False
        return {
            name: largest(items[is_open[items]], scores[is_open[items]])
            for name, (items, scores) in found.items()
            if name in self.active_generators
        }

    def weighted_neighbours(self, context: str, items: np.ndarray, weights: np.ndarray) -> dict[str, Scores]:
        """The neighbours of several items by each active measure, with the weighted sums of their scores."""
        n = len(self.index.share)
        active = [(m, name) for m, name in enumerate(MEASURES) if f"{name}_{context}" in self.active_generators]
        numbers = (n * np.array([m for m, _ in active], int)[:, None] + items).ravel()
        others, scores = self.index.neighbours.of(numbers, np.tile(weights, len(active)))
        each, position = np.unique(others, return_inverse=True)
        sums = np.bincount(position, exact(scores), len(each))
        parts = ((m, name, slice(*np.searchsorted(each, [m * n, (m + 1) * n]))) for m, name in active)
        return {f"{name}_{context}": (each[part] - m * n, sums[part]) for m, name, part in parts}

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

    def with_reserved(self, items: np.ndarray, order: np.ndarray, is_need: np.ndarray) -> np.ndarray:
        """The order of the items with ranks reserved for new items and a next need, as in checkout_rankings."""
        n_kept, model_rank = self.index.n_new_places, np.arange(1.0, len(order) + 1)
        new, rank = np.flatnonzero(self.index.is_new[items[order]])[:n_kept], model_rank.copy()
        rank[new] = np.minimum(rank[new], N_RANKS - n_kept + np.arange(1, len(new) + 1) / (n_kept + 1))
        if self.has_place_for_need:
            needs = np.flatnonzero(is_need[order])[:1]
            rank[needs] = np.minimum(model_rank[needs], RANK_OF_NEEDS)
        return order[np.argsort(rank)]


@contextmanager
def tables_of(place: Path) -> Iterator[Callable[[str], duckdb.DuckDBPyRelation]]:
    """The tables by their names, of a published set or a warehouse. Raises ValueError LS-CHK-004 for a set without."""
    if place.is_dir():
        folder = place.resolve() / SERVING  # once, so that all tables are of one set
        if not folder.is_dir():
            raise ValueError(f"LS-CHK-004 {place} has no checkout: run the job with var checkout_months above 0")
        with duckdb.connect() as session:
            yield lambda name: session.read_parquet(glob.escape(str(folder / f"{name}.parquet")))
    else:
        with duckdb.connect(str(place), read_only=True) as session:
            yield session.table


def exact(values: np.ndarray) -> np.ndarray:
    """Values rounded to multiples of 2^-36, whose sums do not depend on the order; as macro exact."""
    return np.round(values * 2.0**36) / 2.0**36


def found_in(known: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Index of each value in the sorted array known; True if it is there)."""
    at = np.searchsorted(known, values)
    is_found = at < len(known)
    is_found[is_found] = known[at[is_found]] == values[is_found]
    return at, is_found
