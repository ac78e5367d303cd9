"""What the checkout of one month knows, as arrays: read once, so that recommending touches no database.

Items are numbered by their place in the catalogue. Sources and their sizes are those of checkout_candidates.
"""

from dataclasses import dataclass, field
from datetime import date

import duckdb
import numpy as np

N_CANDIDATES = 50
MEASURES = ("together", "linear", "alike", "novel")
Scores = tuple[np.ndarray, np.ndarray]  # places of items, and a number for each
Columns = dict[str, np.ndarray]
HABITS = ("n_baskets", "score", "score_lately", "first_on", "last_on")
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
        self.first_day = date.fromisoformat(month)
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
    order = np.lexsort((habits["item_no"], habits["user_id"]))
    rows = {name: habits[name][order] for name in HABITS} | {"item": habits["item_no"][order] - 1}
    for name in ("first_on", "last_on"):
        rows[name] = (rows[name] - habits["month"][order]).astype("timedelta64[D]").astype(float)
    ids = habits["user_id"][order]
    first, last = (np.searchsorted(ids, users["user_id"], side) for side in ("left", "right"))
    shares = np.column_stack([users[name] for name in stages])
    shares = np.column_stack([shares, 1 - shares.sum(axis=1)])
    recency = np.log1p(np.ma.filled(users["recency_days"].astype(float), 0.0))
    return {
        user: Shopper(
            {name: column[first[n] : last[n]] for name, column in rows.items()},
            None if users["stage"][n] == "unknown" else shares[n],
            int(users["n_baskets"][n]),
            float(recency[n]),
        )
        for n, user in enumerate(users["user_id"])
    }
