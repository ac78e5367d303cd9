"""Simulated families with true children, and their registrations, which are delayed, incomplete and partly wrong."""

from dataclasses import dataclass

import numpy as np

from .items import BRANDS
from .leaves import LEAVES
from .parameters import Parameters

MAX_CHILDREN = 3
NO_CHILD = 10**6  # birth month of a child that does not exist: always far in the future


@dataclass
class Families:
    """One chunk of users. births: month numbers (n, 3) in birth order, NO_CHILD where none."""

    user_id: np.ndarray
    births: np.ndarray
    nephew_birth: np.ndarray  # (n,), NO_CHILD where none
    rate: np.ndarray  # (n,) sessions per month while on, before season
    growth: np.ndarray  # (n,) offset of the apparent from the true age, in log(age + 12)
    taste: np.ndarray  # (n, n_leaves), weights around 1
    brand: np.ndarray  # (n,) favourite brand


def make_families(rng: np.random.Generator, user_id: np.ndarray, start: int, parameters: Parameters) -> Families:
    """Sample the families of one chunk; start is the first simulated month."""
    n = len(user_id)
    shares = np.array(parameters.family_size_weights) / sum(parameters.family_size_weights)
    shares *= 1 - parameters.childless_share
    size = rng.choice(MAX_CHILDREN + 1, size=n, p=[parameters.childless_share, *shares])
    piece = rng.choice(len(parameters.birth_shares), size=n, p=parameters.birth_shares)
    edges = np.array(parameters.birth_edges)
    births = np.empty((n, MAX_CHILDREN), dtype=int)
    births[:, 0] = start + rng.integers(edges[piece], edges[piece + 1])
    least, most = parameters.sibling_gap_months
    gaps = rng.integers(least, most, size=(n, MAX_CHILDREN - 1))
    gaps[rng.random(gaps.shape) < parameters.twin_share] = 0
    births[:, 1:] = births[:, :1] + np.cumsum(gaps, axis=1)
    births[np.arange(MAX_CHILDREN) >= size[:, None]] = NO_CHILD
    nephew = np.where(rng.random(n) < parameters.nephew_share, start + rng.integers(-60, 24, n), NO_CHILD)
    rate = rng.gamma(parameters.activity_shape, parameters.sessions_per_month / parameters.activity_shape, n)
    taste = np.exp(parameters.leaf_taste * rng.standard_normal((n, len(LEAVES))))
    growth = parameters.growth_spread * rng.standard_normal(n)
    return Families(user_id, births, nephew, rate, growth, taste, rng.integers(len(BRANDS), size=n))


def true_children(rng: np.random.Generator, families: Families) -> dict[str, np.ndarray]:
    """One entry per child: user_id, child_no (from 1), birth_date and birth_month, its month number."""
    user, child = np.nonzero(families.births < NO_CHILD)
    month = families.births[user, child]
    return {
        "user_id": families.user_id[user],
        "child_no": child + 1,
        "birth_month": month,
        "birth_date": _random_day(rng, month),
    }


def register(rng: np.random.Generator, children: dict, parameters: Parameters) -> dict[str, np.ndarray]:
    """Registrations of a share of the families, from six months before birth on, with some wrong birthdays."""
    n = len(children["user_id"])
    _, family = np.unique(children["user_id"], return_inverse=True)
    registers = (rng.random(n) < parameters.register_share)[family]
    registers &= (children["child_no"] == 1) | (rng.random(n) < parameters.sibling_register_share)
    delay_days = (30.4 * rng.exponential(parameters.registration_delay_months, n)).astype(int)
    registered = (children["birth_date"] - 183 + delay_days).astype("datetime64[s]") + rng.integers(86_400, size=n)
    is_wrong = rng.random(n) < parameters.wrong_registration_share
    is_absurd = rng.random(n) < parameters.absurd_birthday_share
    other_child = _random_day(rng, children["birth_month"][rng.permutation(n)])
    parent = _random_day(rng, children["birth_month"] - rng.integers(22 * 12, 38 * 12, n))
    birth = np.where(is_wrong, np.where(is_absurd, parent, other_child), children["birth_date"])
    return {
        "user_id": children["user_id"][registers],
        "child_no": children["child_no"][registers],
        "birth_date": birth[registers],
        "registered_at": registered[registers],
        "is_wrong": is_wrong[registers],
    }


def _random_day(rng: np.random.Generator, months: np.ndarray) -> np.ndarray:
    """A random day of each month (month numbers), as datetime64[D]."""
    first = (months - 1970 * 12).astype("datetime64[M]")
    length = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(int)
    return first.astype("datetime64[D]") + (rng.random(len(months)) * length).astype(int)
