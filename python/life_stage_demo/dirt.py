"""Invalid rows added to a simulated month, so that the demo has rejected rows; other rows stay unchanged."""

import numpy as np

from .actions import ACTIONS, IDS_PER_CHUNK

DEFECTS = (
    "duplicate",
    "unknown action",
    "no user",
    "no time",
    "time in 1970",
    "time in 2099",
    "search without term",
    "item action without item",
    "huge quantity",
)
_UNKNOWN = len(ACTIONS)  # the two texts after the valid actions are unknown to the pipeline
_FIRST_DIRTY_ID = IDS_PER_CHUNK - IDS_PER_CHUNK // 10
_IN_1970, _IN_2099 = 0, 4_070_908_800 + 86_400 * 200


def dirty_rows(rng: np.random.Generator, columns: dict[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    """Copies of random rows, each with one defect; all but exact duplicates get new ids."""
    n_rows = len(columns["action_id"])
    n = rng.binomial(n_rows, share) if n_rows else 0
    rows = {
        name: values[rng_rows]
        for rng_rows in [rng.integers(max(1, n_rows), size=n)]
        for name, values in columns.items()
    }
    defect = rng.integers(len(DEFECTS), size=n)
    own_ids = rows["action_id"] - rows["action_id"] % IDS_PER_CHUNK + _FIRST_DIRTY_ID + np.arange(n)
    rows["action_id"] = np.where(defect == DEFECTS.index("duplicate"), rows["action_id"], own_ids)
    _set(rows, "action", defect, "unknown action", _UNKNOWN + rng.integers(2, size=n))
    _set(rows, "user_id", defect, "no user", -1)
    for name, time in (("no time", -1), ("time in 1970", _IN_1970), ("time in 2099", _IN_2099)):
        _set(rows, "occurred_at", defect, name, time)
    _set(rows, "action", defect, "search without term", ACTIONS.index("search"))
    _set(rows, "term", defect, "search without term", -1)
    _set(rows, "action", defect, "item action without item", ACTIONS.index("click"))
    _set(rows, "item", defect, "item action without item", -1)
    is_huge = (defect == DEFECTS.index("huge quantity")) & (rows["item"] >= 0)
    rows["action"] = np.where(is_huge, ACTIONS.index("purchase"), rows["action"])
    rows["quantity"] = np.where(is_huge, 100_000, rows["quantity"])
    return rows


def _set(rows: dict, column: str, defect: np.ndarray, name: str, value) -> None:
    rows[column] = np.where(defect == DEFECTS.index(name), value, rows[column])
