"""What the checkout of one month knows, as arrays: read once, so that recommending touches no database.

Items are numbered by their place in the catalogue. Sources and their sizes are those of checkout_candidates.
"""

from dataclasses import dataclass

import duckdb
import numpy as np

N_CANDIDATES = 50
MEASURES = ("together", "linear", "alike")
Scores = tuple[np.ndarray, np.ndarray]  # places of items, and a number for each
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Shopper:
    """What is known of a user: habits, shares of the stages and of no stage (None: unknown), frequency and recency."""

    habits: Scores = (np.zeros(0, int), np.zeros(0))
    stages: np.ndarray | None = None
    frequency: float = 0.0
    recency: float = 0.0


@dataclass(frozen=True)
class Neighbours:
    """Of every item those that go with it: rows starts[item] to starts[item + 1] of others and scores."""

    starts: np.ndarray
    others: np.ndarray
    scores: np.ndarray


class Memory:
    """The catalogue, what goes together, the shoppers, and the weights of one model of carts."""

    def __init__(self, session: duckdb.DuckDBPyConnection, month: str, model: str):
        def read(table: str, where: str = "true") -> Columns:
            return session.table(table).filter(f"month = date '{month}' and {where}").order("all").fetchnumpy()

        weights = read("checkout_coefficients", f"kind = 'cart' and model = '{model}'")
        self.weights = {name: column[0] for name, column in weights.items()}
        self.item_ids = session.table("checkout_catalogue").order("item_no").fetchnumpy()["item_id"]
        self.place = {item_id: place for place, item_id in enumerate(self.item_ids)}
        items = read("checkout_items")
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
        self.shoppers = shoppers_of(read("checkout_habits"), read("checkout_users"), columns)


def largest(items: np.ndarray, scores: np.ndarray) -> Scores:
    """The N_CANDIDATES items of the highest scores, highest first; of equal ones the first of the catalogue."""
    order = np.lexsort((items, -scores))[:N_CANDIDATES]
    return items[order], scores[order]


def neighbours_of(rows: Columns, n_items: int) -> Neighbours:
    """From rows of checkout_neighbours in the order of item_no."""
    return Neighbours(
        np.searchsorted(rows["item_no"], np.arange(1, n_items + 2)), rows["other_item_no"] - 1, rows["score"]
    )


def shoppers_of(habits: Columns, users: Columns, stages: list[str]) -> dict[str, Shopper]:
    """By user_id, from rows of checkout_habits and checkout_users."""
    order = np.lexsort((habits["item_no"], -habits["score"], habits["user_id"]))
    items, scores, ids = habits["item_no"][order] - 1, habits["score"][order], habits["user_id"][order]
    first, last = (np.searchsorted(ids, users["user_id"], side) for side in ("left", "right"))
    shares = np.column_stack([users[name] for name in stages])
    shares = np.column_stack([shares, 1 - shares.sum(axis=1)])
    recency = np.log1p(np.ma.filled(users["recency_days"].astype(float), 0.0))
    return {
        user: Shopper(
            (items[first[n] : last[n]], scores[first[n] : last[n]]),
            None if users["stage"][n] == "unknown" else shares[n],
            float(np.log1p(users["n_baskets"][n])),
            float(recency[n]),
        )
        for n, user in enumerate(users["user_id"])
    }
