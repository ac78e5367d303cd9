"""Shopping activity of simulated users: on and off spells, personal rates, seasons, gift spells."""

from dataclasses import dataclass

import numpy as np

from .families import NO_CHILD, Families
from .parameters import Parameters


@dataclass
class Spells:
    """State carried from month to month, one entry per user of the chunk."""

    is_on: np.ndarray
    friend_birth: np.ndarray  # month number, NO_CHILD outside a gift spell


def first_spells(rng: np.random.Generator, n: int, parameters: Parameters) -> Spells:
    """Initial state: the stationary share of on spells, no gift spell."""
    on_share = parameters.off_to_on / (parameters.off_to_on + parameters.on_to_off)
    return Spells(rng.random(n) < on_share, np.full(n, NO_CHILD))


def next_spells(rng: np.random.Generator, spells: Spells, month: int, parameters: Parameters) -> Spells:
    """State of the next month."""
    n = len(spells.is_on)
    u = rng.random(n)
    is_on = np.where(spells.is_on, u >= parameters.on_to_off, u < parameters.off_to_on)
    lasts = (spells.friend_birth < NO_CHILD) & (rng.random(n) >= parameters.gift_spell_end)
    starts = ~lasts & (rng.random(n) < parameters.gift_spell_start)
    new_birth = month - rng.integers(*parameters.gift_ages, size=n)
    return Spells(is_on, np.where(starts, new_birth, np.where(lasts, spells.friend_birth, NO_CHILD)))


def interest(births: np.ndarray, month: int, parameters: Parameters) -> np.ndarray:
    """Relative shopping rate, 0 .. 1, for a child of each birth month; same shape as births."""
    age = month - births
    weight = np.interp(age, parameters.interest_ages, parameters.interest_weights)
    return np.where(age < parameters.interest_ages[1], 0.0, weight)


def draw_sessions(
    rng: np.random.Generator, families: Families, spells: Spells, month: int, parameters: Parameters
) -> np.ndarray:
    """User index of each session of the month, ascending."""
    need = interest(families.births, month, parameters).max(axis=1)
    rate = np.where(spells.is_on, families.rate, parameters.sessions_while_off)
    rate = rate * (parameters.activity_without_child + (1 - parameters.activity_without_child) * need)
    counts = rng.poisson(rate * parameters.season[month % 12])
    return np.repeat(np.arange(len(counts)), counts)
