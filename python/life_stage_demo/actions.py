"""Actions of the simulated sessions: searches, clicks, collects, cart additions and purchases."""

import numpy as np
import pyarrow as pa

from .catalogue import Catalogue
from .families import Families
from .months import month_start, month_text
from .parameters import Parameters
from .sessions import Sessions

ACTIONS = ("search", "click", "collect", "cart", "purchase")
DEVICES = ("app", "mobile_web", "desktop")
IDS_PER_CHUNK = 1_000_000  # ids of one chunk in one month; the last tenth is for added dirt
_SEARCH, _CLICK, _COLLECT, _CART, _PURCHASE = range(5)


def first_id(month: int, chunk: int) -> int:
    """First id of a chunk in a month: YYYYMM and ten digits, below 2**53 up to ten thousand chunks."""
    return int(month_text(month).replace("-", "")) * 10**10 + chunk * IDS_PER_CHUNK


def make_actions(
    rng: np.random.Generator,
    sessions: Sessions,
    families: Families,
    month: int,
    chunk: int,
    catalogue: Catalogue,
    parameters: Parameters,
) -> dict[str, np.ndarray]:
    """One entry per action as codes and numbers, before invalid rows are added; -1 means null."""
    n_actions = sessions.n_items + sessions.has_search
    session = np.repeat(np.arange(len(n_actions)), n_actions)
    position = np.arange(len(session)) - np.repeat(np.cumsum(n_actions) - n_actions, n_actions)
    is_search = (position == 0) & sessions.has_search[session]
    is_first_item = position == sessions.has_search[session]
    action = _action_codes(rng, is_search, is_first_item, sessions, parameters)
    item = _items(rng, session, is_search, is_first_item, action, sessions, families, catalogue, parameters)
    term = _terms(rng, session, is_search, sessions, catalogue)
    dwell = np.exp(rng.normal(3.2, 0.9, len(session))).astype(int).clip(1, 900)
    base = first_id(month, chunk)
    return {
        "action_id": base + np.arange(len(session)),
        "user_id": families.user_id[sessions.user[session]],
        "occurred_at": _times(dwell, position, session, sessions.started, month),
        "action": action,
        "item": item,
        "term": term,
        "quantity": _quantities(rng, action, sessions.is_bulk[session]),
        "session_id": base + session,
        "device": sessions.device[session],
        "dwell_seconds": np.where(action == _CLICK, dwell, -1),
        "target": sessions.target[session],
        "target_age": sessions.age[session],
    }


def _action_codes(rng, is_search, is_first_item, sessions: Sessions, parameters: Parameters) -> np.ndarray:
    """Action codes; a session's first item is a click, and later shares are raised to keep the overall mix."""
    n_items = sessions.n_items.sum()
    later = n_items / max(1, n_items - len(sessions.n_items))
    shares = later * np.array([parameters.purchase_share, parameters.cart_share, parameters.collect_share])
    action = np.array([_PURCHASE, _CART, _COLLECT, _CLICK])[
        np.searchsorted(np.cumsum(shares), rng.random(len(is_search)))
    ]
    action[is_first_item] = _CLICK
    action[is_search] = _SEARCH
    return action


def _items(
    rng,
    session,
    is_search,
    is_first_item,
    action,
    sessions: Sessions,
    families: Families,
    catalogue: Catalogue,
    parameters: Parameters,
) -> np.ndarray:
    """Item index per action, -1 for searches; other actions concern the item of the preceding click."""
    n, row = len(session), sessions.row[session]
    stays = (rng.random(n) < parameters.focus_share) | sessions.is_bulk[session]
    leaf = np.where(stays, sessions.leaf[session], catalogue.leaves.draw(rng, row, np.zeros(n, dtype=int)))
    item, other = catalogue.items.draw(rng, row, leaf), catalogue.items.draw(rng, row, leaf)
    favourite = families.brand[sessions.user[session]]
    is_better = (catalogue.item_brand[other] == favourite) & (rng.random(n) < parameters.brand_loyalty)
    item = np.where(is_better, other, item)
    is_new = is_first_item | is_search | ((action == _CLICK) & (rng.random(n) >= parameters.repeat_share))
    item = item[np.maximum.accumulate(np.where(is_new, np.arange(n), 0))]
    return np.where(is_search, -1, item)


def _terms(rng, session, is_search, sessions: Sessions, catalogue: Catalogue) -> np.ndarray:
    """Search term index per action, -1 for item actions; terms belong to the session's leaf category."""
    term = np.full(len(session), -1)
    searching = session[is_search]
    term[is_search] = catalogue.search_terms.draw(rng, sessions.row[searching], sessions.leaf[searching])
    return term


def _times(dwell, position, session, started, month: int) -> np.ndarray:
    """Seconds since 1970, ascending within a session and at most the end of the month."""
    passed = np.cumsum(dwell + 2) - dwell
    first = passed[position == 0]
    return np.minimum(started[session] + passed - first[session], month_start(month + 1) - 1)


def _quantities(rng, action, is_bulk) -> np.ndarray:
    quantity = rng.geometric(0.7, len(action))
    quantity = np.where(is_bulk, rng.integers(8, 60, len(action)), quantity)
    return np.where(action == _PURCHASE, quantity, -1)


def action_table(columns: dict[str, np.ndarray], catalogue: Catalogue) -> pa.Table:
    """The actions table of the data contract, with dictionary-encoded texts."""

    def known(values, where, kind):
        return pa.array(values, type=kind, mask=~where)

    def texts(codes, names):
        return pa.DictionaryArray.from_arrays(pa.array(codes, type=pa.int32(), mask=codes < 0), names)

    user, time, item = columns["user_id"], columns["occurred_at"], columns["item"]
    return pa.table(
        {
            "action_id": columns["action_id"],
            "user_id": known(user, user >= 0, pa.int64()),
            "occurred_at": known(time, time >= 0, pa.timestamp("s")).cast(pa.timestamp("us")),
            "action": texts(columns["action"], pa.array((*ACTIONS, "share", "unknown"))),
            "item_id": known(catalogue.item_id[item], item >= 0, pa.int64()),
            "search_term": texts(columns["term"], catalogue.term_array),
            "quantity": known(columns["quantity"], columns["quantity"] >= 0, pa.int32()),
            "session_id": columns["session_id"],
            "device": texts(columns["device"], pa.array(DEVICES)),
            "dwell_seconds": known(columns["dwell_seconds"], columns["dwell_seconds"] >= 0, pa.int32()),
        }
    )
