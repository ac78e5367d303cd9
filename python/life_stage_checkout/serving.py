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
from life_stage_checkout.checkout_index import MEASURES, CheckoutIndex, Columns, Shoppers
from life_stage_checkout.grouped import (
    N_CANDIDATES,
    Candidates,
    distinct,
    exact,
    found_in,
    largest,
    matrix_of,
    sums_by_key,
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
NO_CANDIDATES = Candidates(*np.zeros((3, 0), int), np.zeros(0))
RANK_SCORES = 1 / np.sqrt(np.arange(1.0, N_CANDIDATES + 1))


class TypeShares(NamedTuple):
    """Shares of the product types, as in checkout_type_scores; rows of shoppers, of cart one row for all.

    cart: given the cart; history: given what the shopper has looked at; browsed: in that itself; need: history of the
    next needs, 0 for all other types.
    """

    cart: np.ndarray
    history: np.ndarray
    browsed: np.ndarray
    need: np.ndarray


class Ranking(NamedTuple):
    """The best N_RANKS items of each shopper, in order of shopper and rank.

    shopper: row number; rank: from 0; item: index into the catalogue; odds: log-odds; reason: index of the generator
    with the largest contribution among those that retrieve the item; of a next need in a list with a place for one,
    type_need; n_candidates: of each shopper.
    """

    shopper: np.ndarray
    rank: np.ndarray
    item: np.ndarray
    odds: np.ndarray
    reason: np.ndarray
    n_candidates: np.ndarray


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
        best = recommender.ranked(in_cart, shopper, recent, day, wanted)
        items, probabilities = best.item[:n], 1 / (1 + np.exp(-best.odds[:n]))
        known_prices = (None if np.isnan(price) else price for price in self.prices[items].tolist())
        names = (GENERATORS[reason] for reason in best.reason[:n])
        columns = zip(index.item_ids[items], probabilities.tolist(), names, known_prices, strict=True)
        served = [Recommendation(*facts) for facts in columns]
        if self.log is not None:
            elapsed = (perf_counter() - start) * 1000
            self.log.add(recommender.index.weights["model"], elapsed, int(best.n_candidates[0]), len(served))
        return served

    def used_for(self, cart: Collection[str]) -> "Recommender":
        """The recommender of the cart: that of empty carts if no item of it is known."""
        is_known = len(self.index.positions(cart)) > 0
        return self if is_known or self.for_empty is None else self.for_empty

    def ranked(
        self,
        cart: np.ndarray,
        shoppers: Shoppers,
        bought: Sequence[tuple[int, int]] = (),
        day: int = 0,
        wanted: np.ndarray | None = None,
    ) -> Ranking:
        """The ranking of several shoppers with the same cart.

        bought: items and days of purchases since the month's first day; wanted: true for the items that may be
        recommended; None: all that are available.
        """
        n, n_items = len(shoppers), len(self.index.share)
        habits, type_shares = self.habits(shoppers, bought, day), self.type_shares(cart, shoppers)
        generators = self.generators(cart, shoppers, habits, type_shares, wanted)
        # All candidates in one row after the other: one array is faster than one a generator.
        numbers = np.array([GENERATORS.index(name) for name in generators], int)
        generator = np.repeat(numbers, [len(found.row) for found in generators.values()])
        row, rank, retrieved, scores = (
            np.concatenate(parts) for parts in zip(NO_CANDIDATES, *generators.values(), strict=True)
        )
        weight, rank_weight, each_weight = self.generator_weights[:, generator]
        keys, n_keys = row * n_items + retrieved, n * n_items
        candidates = distinct(keys[(weight != 0) & (scores > 0)], n_keys)
        shopper, items = np.divmod(candidates, n_items)
        at, is_candidate = found_in(candidates, keys, n_keys)
        contribution = weight * np.log1p(scores) + rank_weight * RANK_SCORES[rank]
        contribution += each_weight * scores / max(len(cart), 1)
        contributions = np.zeros((len(GENERATORS), len(items)))
        contributions[generator[is_candidate], at[is_candidate]] = contribution[is_candidate]
        is_retrieving = is_candidate & (weight != 0)
        is_retrieved = np.zeros(contributions.shape, bool)
        is_retrieved[generator[is_retrieving], at[is_retrieving]] = True
        odds = self.log_odds(shopper, items, shoppers, habits, day) + contributions.sum(axis=0)
        odds += self.log_odds_of_types(shopper, items, cart, shoppers, type_shares)
        odds = exact(odds)  # processors differ in the last digit of a logarithm: ties stay ties
        is_need = type_shares.need[shopper, self.index.types.of_item[items]] > 0
        best, rank = self.best(shopper, odds, self.index.is_new[items], is_need, n)
        reasons = np.where(is_retrieved[:, best], contributions[:, best], -np.inf).argmax(axis=0)
        if self.has_place_for_need:
            reasons[is_need[best] & is_retrieved[NEED, best]] = NEED
        n_candidates = np.bincount(shopper, minlength=n)
        return Ranking(shopper[best], rank, items[best], odds[best], reasons, n_candidates)

    def habits(self, shoppers: Shoppers, bought: Sequence[tuple[int, int]], day: int) -> Columns:
        """Habits as in checkout_query_habits, decayed to the day, plus new purchases of every shopper.

        Rows by shopper, then by item; key: both in one number.
        """
        n_items, of_each = len(self.index.share), np.arange(len(shoppers))
        items, days = np.array(bought, int).reshape(-1, 2).T
        known, days = shoppers.habits, np.tile(days, len(shoppers))
        keys = np.repeat(of_each, np.diff(shoppers.habit_starts)) * n_items + known["item"]
        new_keys = np.add.outer(of_each * n_items, items).ravel()
        all_keys, index = np.unique(np.concatenate([keys, new_keys]), return_inverse=True)

        def decay(days: np.ndarray | int, rate: int = 1) -> np.ndarray | float:
            return 0.5 ** (days * rate / self.index.half_life_days)

        def total(name: str, added: np.ndarray, factor: float = 1.0) -> np.ndarray:
            parts = np.concatenate([known[name] * factor, added])
            return np.bincount(index, exact(parts), len(all_keys))

        found = {"key": all_keys, "n_baskets": total("n_baskets", np.ones(len(days)))}
        found["shopper"], found["item"] = np.divmod(all_keys, n_items)
        found["score"] = total("score", decay(day - days), decay(day))
        found["recent_score"] = total("recent_score", decay(day - days, 4), decay(day, 4))
        found["first_on"], found["last_on"] = np.full((2, len(all_keys)), [[np.inf], [-np.inf]])
        np.minimum.at(found["first_on"], index, np.concatenate([known["first_on"], days]))
        np.maximum.at(found["last_on"], index, np.concatenate([known["last_on"], days]))
        return found

    def type_shares(self, cart: np.ndarray, shoppers: Shoppers) -> TypeShares:
        """Shares of the product types."""
        types, n, n_types = self.index.types, len(shoppers), len(self.index.types.share)
        in_cart, n_in_cart = np.unique(types.of_item[cart], return_counts=True)
        browsed, strength = shoppers.browsed
        shopper = np.repeat(np.arange(n), np.diff(shoppers.browsed_starts))

        def given(row: np.ndarray, known: np.ndarray, weights: np.ndarray, n_prior: int, n: int) -> np.ndarray:
            owners, others, scores = types.neighbours.of(known, weights, row * n_types)
            seen_together = np.bincount(owners + others, exact(scores), n * n_types).reshape(n, n_types)
            of_all = np.bincount(row, exact(weights * types.prior_weight[known]), n) + n_prior
            total = np.bincount(row, exact(weights), n) + n_prior
            return (seen_together + of_all[:, None] * types.share) / total[:, None]

        own = np.tile(N_BROWSED * types.share, (n, 1))
        own[shopper, browsed] += strength
        own /= (np.bincount(shopper, exact(strength), n) + N_BROWSED)[:, None]
        of_cart = types.share[None]
        if len(cart):
            of_cart = given(np.zeros(len(in_cart), int), in_cart, n_in_cart.astype(float), 0, 1)
        of_history = given(shopper, browsed, strength, N_BROWSED, n)
        return TypeShares(of_cart, of_history, own, of_history * types.next_needs(shopper, browsed, in_cart, n))

    def log_odds_of_types(
        self, shopper: np.ndarray, items: np.ndarray, cart: np.ndarray, shoppers: Shoppers, type_shares: TypeShares
    ) -> np.ndarray:
        """The part of the items' log-odds that comes from their product types."""
        types, weights = self.index.types, self.index.weights
        of_item = types.of_item[items]
        odds = weights["w_share_of_type"] * np.log(types.share_of_type[items])
        odds += weights["w_is_type_of_cart"] * np.isin(of_item, types.of_item[cart])
        odds += weights["w_type_of_cart"] * np.log(type_shares.cart[0, of_item])
        odds += weights["w_type_of_history"] * np.log(type_shares.history[shopper, of_item])
        odds += weights["w_type_browsed"] * np.log(type_shares.browsed[shopper, of_item])
        for name, shares in (("type_stage_lift", types.shares), ("next_type_stage_lift", types.next_shares)):
            odds += weights[f"w_{name}"] * shoppers.log_lifts(shopper, shares[of_item], types.share[of_item])
        return odds

    def generators(
        self,
        cart: np.ndarray,
        shoppers: Shoppers,
        habits: Columns,
        type_shares: TypeShares,
        wanted: np.ndarray | None = None,
    ) -> dict[str, Candidates]:
        """Candidates of each active generator, without the items in the cart."""
        index, n = self.index, len(shoppers)
        # Among few items the most popular of all may be none.
        among = None if wanted is None else np.flatnonzero(wanted)
        is_open = (index.is_available if wanted is None else wanted).copy()
        is_open[cart] = False
        found = {}

        def add(name: str, row: np.ndarray, items: np.ndarray, scores: np.ndarray, n_rows: int = n) -> None:
            if name in self.active_generators:
                kept = is_open[items]
                best = largest(row[kept], items[kept], scores[kept], n_rows)
                found[name] = best if n_rows == n else repeated(best, n)

        popular = index.popular if among is None else among
        add("popular", np.zeros(len(popular), int), popular, index.share[popular], 1)
        popular = index.popular_in_stages if among is None else index.popular_of(among)
        known = np.flatnonzero(shoppers.is_known)
        scores = np.einsum("us,is->ui", shoppers.stages[known], index.shares[popular]).ravel()
        add("popular_in_stage", np.repeat(known, len(popular)), np.tile(popular, len(known)), scores)
        row, own, strength = habits["shopper"], habits["item"], habits["score"]
        add("habit", row, own, strength)
        strongest = largest(row, own, strength, n)
        strongest = [part[strongest.rank < N_HABITS] for part in strongest]
        weights = {"cart": (np.zeros(len(cart), int), cart, np.ones(len(cart)), 1)}
        weights["history"] = (strongest[0], strongest[2], strongest[3], n)
        for context, (row, items, weight, n_rows) in weights.items():
            for name, scores in self.weighted_neighbours(context, row, items, weight, n_rows).items():
                add(name, *scores, n_rows)
        for context in ("cart", "history", "need"):
            shares = getattr(type_shares, context)
            if f"type_{context}" in self.active_generators:
                add(f"type_{context}", *index.types.candidates(shares, len(cart), among), len(shares))
        return found

    def weighted_neighbours(
        self, context: str, row: np.ndarray, items: np.ndarray, weights: np.ndarray, n: int
    ) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(Row, neighbour, weighted sum of its scores) of the items of each of n rows, by each active measure."""
        n_items, sums = len(self.index.share), {}
        for measure, neighbours in self.index.neighbours.items():
            if (name := f"{measure}_{context}") in self.active_generators:
                owners, others, scores = neighbours.of(items, weights, row * n_items)
                keys, total = sums_by_key(owners + others, scores, n * n_items)
                sums[name] = (*np.divmod(keys, n_items), total)
        return sums

    def log_odds(
        self, shopper: np.ndarray, items: np.ndarray, shoppers: Shoppers, habits: Columns, day: int
    ) -> np.ndarray:
        """Log-odds of the shoppers' items without the contributions of generators."""
        index, weights = self.index, self.index.weights
        share = index.share[items]
        odds = weights["intercept"] + weights["w_popularity"] * np.log(share)
        of_shoppers = weights["w_frequency"] * np.log1p(shoppers.n_baskets) + weights["w_recency"] * shoppers.recency
        odds += of_shoppers[shopper]
        for name, shares in (("stage_lift", index.shares), ("next_stage_lift", index.next_shares)):
            odds += weights[f"w_{name}"] * shoppers.log_lifts(shopper, shares[items], share)
        since, n_baskets = day - habits["last_on"], habits["n_baskets"]
        interval = (habits["last_on"] - habits["first_on"]) / np.maximum(n_baskets - 1, 1)
        ratio = np.log(0.05 + since / (interval + 3))
        own = (
            weights["w_recent_propensity"] * np.log1p(habits["recent_score"])
            + weights["w_repeat_share"] * n_baskets / (shoppers.n_baskets[habits["shopper"]] + 2)
            + weights["w_log_days_since_last"] * np.log1p(since)
            + weights["w_replenishment_ratio"] * np.where(n_baskets > 1, ratio, 0.0)
            + weights["w_replenishment_deviation"] * np.where(n_baskets > 1, np.abs(ratio), 2.0)
        )
        n_items = len(index.share)
        at, is_habit = found_in(habits["key"], shopper * n_items + items, len(shoppers) * n_items)
        odds[is_habit] += own[at[is_habit]]
        odds[~is_habit] += 6.0 * weights["w_log_days_since_last"] + 2.0 * weights["w_replenishment_deviation"]
        return odds

    def best(
        self, shopper: np.ndarray, odds: np.ndarray, is_new: np.ndarray, is_need: np.ndarray, n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(Place, rank) of each shopper's best N_RANKS items, with reserved ranks as in checkout_rankings.

        shopper: row number below n of each item, ascending; ties in the order of the items.
        """
        n_kept = self.index.n_new_places
        matrix, starts, lengths = matrix_of(shopper, odds, n)
        order = np.argsort(-matrix, axis=1, kind="stable")
        place = order + starts[:, None]
        model_rank = np.arange(1.0, order.shape[1] + 1)
        is_item = model_rank <= lengths[:, None]
        place[~is_item] = 0
        rank, n_new = np.where(is_item, model_rank, np.inf), np.cumsum(is_new[place], axis=1)
        of_new = np.minimum(model_rank, N_RANKS - n_kept + n_new / (n_kept + 1))
        rank = np.where(is_item & is_new[place] & (n_new <= n_kept), of_new, rank)
        if self.has_place_for_need:
            is_first = is_item & is_need[place] & (np.cumsum(is_need[place], axis=1) == 1)
            rank = np.where(is_first, np.minimum(model_rank, RANK_OF_NEEDS), rank)
        chosen = np.argsort(rank, axis=1, kind="stable")[:, :N_RANKS]
        row, rank = np.nonzero(np.arange(chosen.shape[1]) < lengths[:, None])
        return place[row, chosen[row, rank]], rank


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


def repeated(best: Candidates, n: int) -> Candidates:
    """The candidates of one row for n rows."""
    parts = (np.tile(part, n) for part in best[1:])
    return Candidates(np.repeat(np.arange(n), len(best.row)), *parts)
