"""Dynamic fusion, the published method, on arrays for evaluation: as models/life_stage/filtering/dynamic_fusion.sql.

A track is the running mean (or product) of the months that matched it, stored as of its last match and aged from there.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

N_TRACKS = 3
DECAY = 0.7  # of a fusion's weight, per month


@dataclass(frozen=True)
class Tracks:
    """users x slots (N_TRACKS and one for a new track); fusions 0: the slot is empty.

    p: as of the month `matched`, over the stages and graduated; number: index of the user's track, from 1.
    """

    p: np.ndarray
    matched: np.ndarray
    first: np.ndarray
    fusions: np.ndarray
    number: np.ndarray

    def take(self, slots: np.ndarray) -> "Tracks":
        """The tracks in the given slots (users x n) of each user."""
        rows = np.arange(len(slots))[:, None]
        return Tracks(*(getattr(self, name)[rows, slots] for name in self.__dataclass_fields__))


def moves(edges: tuple[int, ...], n_months: int) -> np.ndarray:
    """Equation 1 as matrices (months moved x stages and graduated x the same); mass is uniform within a stage."""
    n_stages = len(edges) - 1
    found = np.zeros((n_months, n_stages + 1, n_stages + 1))
    found[:, -1, -1] = 1
    for delta in range(n_months):
        for stage, (low, high) in enumerate(pairwise(edges)):
            landed = np.searchsorted(edges, np.arange(low, high) + delta, side="right") - 1
            found[delta, stage] = np.bincount(landed, minlength=n_stages + 1) / (high - low)
    return found


def likeliest(p: np.ndarray) -> np.ndarray:
    """Index of the most probable stage along the last axis; ties go to the younger one."""
    return np.round(p, 12).argmax(axis=-1)


def primary_tracks(p: np.ndarray, edges: tuple[int, ...], merge: str = "mean") -> np.ndarray:
    """users x months x stages: distribution of each user's strongest track by month; nan before the first.

    p: users x months x stages, nan in months without a distribution; merge: mean or product.
    """
    n_users, n_months, n_stages = p.shape
    moved_by, predicted = moves(edges, n_months), np.full(p.shape, np.nan)
    empty = np.zeros((n_users, N_TRACKS + 1), int)
    tracks, n_ever = Tracks(np.zeros((*empty.shape, n_stages + 1)), empty, empty, empty, empty), empty[:, 0]
    for month in range(n_months):
        now = moved(tracks, moved_by, month)
        has_p = ~np.isnan(p[:, month, 0])
        tracks, n_ever = fused(tracks, now, n_ever, np.nan_to_num(p[:, month]), has_p, month, merge)
        tracks = ranked(tracks, month)
        now, has_track = moved(tracks, moved_by, month)[:, 0, :-1], tracks.fusions[:, 0] > 0
        total = now.sum(axis=1, keepdims=True)
        last_stage = np.eye(n_stages)[-1]  # the nearest one for a child that has graduated
        predicted[has_track, month] = np.where(total > 0, now / np.where(total > 0, total, 1), last_stage)[has_track]
    return predicted


def moved(tracks: Tracks, moved_by: np.ndarray, month: int) -> np.ndarray:
    """The tracks' distributions, aged to a month."""
    return np.einsum("uks,ukst->ukt", tracks.p, moved_by[month - tracks.matched])


def fused(
    tracks: Tracks, now: np.ndarray, n_ever: np.ndarray, p: np.ndarray, has_p: np.ndarray, month: int, merge: str
) -> tuple[Tracks, np.ndarray]:
    """Equations 2 and 3: a month updates the matching track with most fusions, or starts a new one."""
    agree = has_p[:, None] & (tracks.fusions > 0) & (likeliest(now) == likeliest(p)[:, None])
    order = np.lexsort((tracks.number, tracks.first, -tracks.matched, -tracks.fusions, ~agree), axis=1)[:, 0]
    users, begins = np.arange(len(p)), has_p & ~agree.any(axis=1)
    slot = np.where(begins, N_TRACKS, order)
    before, fusions = now[users, order, :-1], tracks.fusions[users, order][:, None]
    both = before * p if merge == "product" else (fusions * before + p) / (fusions + 1)
    total = both.sum(axis=1, keepdims=True)
    new_p = np.where(begins[:, None], p, both / np.where(total > 0, total, 1))
    at = users[has_p], slot[has_p]
    values = {
        "p": np.pad(new_p, ((0, 0), (0, 1))),
        "matched": np.full(len(p), month),
        "first": np.where(begins, month, tracks.first[users, order]),
        "fusions": np.where(begins, 1, fusions[:, 0] + 1),
        "number": np.where(begins, n_ever + 1, tracks.number[users, order]),
    }
    changed = {name: getattr(tracks, name).copy() for name in values}
    for name, value in values.items():
        changed[name][at] = value[has_p]
    return replace(tracks, **changed), n_ever + begins


def ranked(tracks: Tracks, month: int) -> Tracks:
    """The tracks by time-decayed number of fusions, strongest first; the last slot is emptied."""
    weight = np.round(tracks.fusions * DECAY ** (month - tracks.matched), 12)
    order = np.lexsort((tracks.number, tracks.first, -tracks.matched, -weight), axis=1)
    sorted_tracks = tracks.take(order)
    sorted_tracks.fusions[:, N_TRACKS] = 0
    return sorted_tracks
