"""Simulated sessions: target, target age, leaf category and start time, one target age per session."""

from dataclasses import dataclass

import numpy as np

from .activity import Spells, interest
from .ages import LAST_AGE, NO_AGE, age_row
from .catalogue import Catalogue
from .choices import draw_columns
from .families import MAX_CHILDREN, NO_CHILD, Families
from .months import days_in_month, month_start
from .parameters import Parameters

OWN, GIFT, FRIEND, NEPHEW = 0, -1, -2, -3  # targets beside child 1, 2, 3
TARGET_NAMES = {
    OWN: "household",
    GIFT: "gift",
    FRIEND: "friend",
    NEPHEW: "nephew",
    1: "child",
    2: "child",
    3: "child",
}


@dataclass
class Sessions:
    """Sessions of one chunk and month, one entry per session, ordered by user."""

    user: np.ndarray  # index within the chunk
    target: np.ndarray  # child_no, or one of the constants above
    age: np.ndarray  # target age in months, NO_CHILD for no child
    row: np.ndarray  # table row of the target age
    leaf: np.ndarray
    n_items: np.ndarray
    has_search: np.ndarray
    is_bulk: np.ndarray
    started: np.ndarray  # seconds since 1970
    device: np.ndarray


def make_sessions(
    rng: np.random.Generator,
    user: np.ndarray,
    families: Families,
    spells: Spells,
    month: int,
    catalogue: Catalogue,
    parameters: Parameters,
) -> Sessions:
    """Sessions of the given users (indices within the chunk)."""
    target, age = _targets(rng, user, families, spells, month, parameters)
    row = np.where(age == NO_CHILD, NO_AGE, age_row(seeming_age(np.minimum(age, LAST_AGE), families.growth[user])))
    leaf = draw_columns(rng, catalogue.leaf_p[row] * families.taste[user])
    is_bulk = rng.random(len(user)) < parameters.bulk_share
    mean = rng.gamma(parameters.session_shape, (parameters.items_per_session - 1) / parameters.session_shape, len(user))
    n_items = 1 + rng.poisson(mean) * np.where(is_bulk, parameters.bulk_factor, 1)
    day = rng.integers(days_in_month(month), size=len(user))
    second = rng.normal(13 * 3600, 4 * 3600, len(user)).astype(int) % 86_400  # evenings in China are 13:00 UTC
    return Sessions(
        user,
        target,
        age,
        row,
        leaf,
        n_items,
        rng.random(len(user)) < parameters.search_share,
        is_bulk,
        month_start(month) + day * 86_400 + second,
        rng.choice(3, size=len(user), p=(0.75, 0.15, 0.10)),
    )


def seeming_age(age: np.ndarray, growth: np.ndarray) -> np.ndarray:
    """Apparent age in months: sizes run ahead of or behind the true age after birth."""
    return np.where(age < 0, age, np.maximum(0, np.rint((age + 12) * np.exp(growth) - 12))).astype(int)


def _targets(
    rng, user: np.ndarray, families: Families, spells: Spells, month: int, parameters: Parameters
) -> tuple[np.ndarray, np.ndarray]:
    """(target, age in months) of each session: own children by interest, or other children."""
    n = len(user)
    own = np.full((n, 1), parameters.own_interest)
    weights = np.hstack([own, interest(families.births[user], month, parameters)])
    target = draw_columns(rng, weights)
    age = np.where(target > 0, month - families.births[user, np.clip(target - 1, 0, MAX_CHILDREN - 1)], NO_CHILD)
    others = (
        (GIFT, rng.random(n) < parameters.gift_share, rng.integers(*parameters.gift_ages, size=n)),
        (NEPHEW, rng.random(n) < parameters.nephew_session_share, month - families.nephew_birth[user]),
        (FRIEND, rng.random(n) < parameters.gift_spell_share, month - spells.friend_birth[user]),
    )
    for code, is_drawn, other_age in others:
        replaced = is_drawn & (other_age >= parameters.interest_ages[1])
        target, age = np.where(replaced, code, target), np.where(replaced, other_age, age)
    return target, age
