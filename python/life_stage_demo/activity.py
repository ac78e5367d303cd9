"""Activity of users: on and off spells, a personal rate, seasons, spells of gifts for a friend's child."""

from dataclasses import dataclass

import numpy as np

from .families import NO_CHILD, Families
from .parameters import Parameters


@dataclass
class Spells:
    """What a month hands on to the next, one entry per user of the chunk."""

    is_on: np.ndarray
    friend_birth: np.ndarray  # running month number, NO_CHILD when no spell lasts


def first_spells(rng: np.random.Generator, n: int, parameters: Parameters) -> Spells:
    """Users start in the long-run share of on spells and with no friend's child."""
    on_share = parameters.off_to_on / (parameters.off_to_on + parameters.on_to_off)
    return Spells(rng.random(n) < on_share, np.full(n, NO_CHILD))


def next_spells(rng: np.random.Generator, spells: Spells, month: int, parameters: Parameters) -> Spells:
    """The spells of the following month."""
    n = len(spells.is_on)
    u = rng.random(n)
    is_on = np.where(spells.is_on, u >= parameters.on_to_off, u < parameters.off_to_on)
    lasts = (spells.friend_birth < NO_CHILD) & (rng.random(n) >= parameters.gift_spell_end)
    starts = ~lasts & (rng.random(n) < parameters.gift_spell_start)
    new_birth = month - rng.integers(*parameters.gift_ages, size=n)
    return Spells(is_on, np.where(starts, new_birth, np.where(lasts, spells.friend_birth, NO_CHILD)))


def interest(births: np.ndarray, month: int, parameters: Parameters) -> np.ndarray:
    """How much shopping a child of each birth month causes, 0 .. 1, same shape as births."""
    age = month - births
    weight = np.interp(age, parameters.interest_ages, parameters.interest_weights)
    return np.where(age < parameters.interest_ages[1], 0.0, weight)


def draw_sessions(
    rng: np.random.Generator, families: Families, spells: Spells, month: int, parameters: Parameters
) -> np.ndarray:
    """User number of each session of the month, ascending."""
    need = interest(families.births, month, parameters).max(axis=1)
    rate = np.where(spells.is_on, families.rate, parameters.sessions_while_off)
    rate = rate * (parameters.activity_without_child + (1 - parameters.activity_without_child) * need)
    counts = rng.poisson(rate * parameters.season[month % 12])
    return np.repeat(np.arange(len(counts)), counts)
