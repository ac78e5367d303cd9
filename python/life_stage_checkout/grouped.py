"""Sums, look-ups and largest scores for many shoppers at once, in flat arrays without a loop over the shoppers."""

from typing import NamedTuple

import numpy as np

N_CANDIDATES = 50
SPARSE = 64  # numbers per key from which sorting the keys is faster than an array of all numbers


class Candidates(NamedTuple):
    """At most N_CANDIDATES items of each row, in order of row and rank; row: of a shopper; rank: from 0."""

    row: np.ndarray
    rank: np.ndarray
    item: np.ndarray
    score: np.ndarray


def exact(values: np.ndarray) -> np.ndarray:
    """Values rounded to multiples of 2^-36, whose sums do not depend on the order; as macro exact."""
    return np.round(values * 2.0**36) / 2.0**36


def distinct(keys: np.ndarray, n: int) -> np.ndarray:
    """The keys, whole numbers below n, each once and ascending."""
    if n > SPARSE * len(keys):
        return np.unique(keys)
    is_key = np.zeros(n, bool)
    is_key[keys] = True
    return np.flatnonzero(is_key)


def found_in(known: np.ndarray, keys: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(Index of each key in known, which is ascending; True if it is there) of whole numbers below n."""
    if n > SPARSE * len(keys):
        at = np.searchsorted(known, keys)
        is_found = at < len(known)
        is_found[is_found] = known[at[is_found]] == keys[is_found]
        return at, is_found
    index = np.full(n, -1, np.int32)
    index[known] = np.arange(len(known))
    return index[keys], index[keys] >= 0


def sums_by_key(keys: np.ndarray, values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(Distinct keys, ascending; exact sum of the values of each) of whole numbers below n."""
    each = distinct(keys, n)
    if n > SPARSE * len(keys):
        return each, np.bincount(np.searchsorted(each, keys), exact(values), len(each))
    return each, np.bincount(keys, exact(values), n)[each]


def matrix_of(row: np.ndarray, values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(Values of n rows in a matrix, -inf behind the last of a row; place of each row's first value; number of values).

    row: row number of each value, ascending.
    """
    lengths = np.bincount(row, minlength=n)
    starts = np.cumsum(lengths) - lengths
    matrix = np.full((n, lengths.max(initial=0)), -np.inf)
    matrix[row, np.arange(len(row)) - starts[row]] = values
    return matrix, starts, lengths


def largest(row: np.ndarray, item: np.ndarray, score: np.ndarray, n: int) -> Candidates:
    """The items of the N_CANDIDATES highest scores of each of n rows, highest first; ties in catalogue order.

    row, item: ascending, by row first.
    """
    is_many = len(row) > 4 * N_CANDIDATES * n  # sorting all would take most of the time of an answer
    if n == 1:
        if is_many:
            is_high = score >= np.partition(score, -N_CANDIDATES)[-N_CANDIDATES]
            item, score = item[is_high], score[is_high]
        order = np.argsort(-score, kind="stable")[:N_CANDIDATES]
        return Candidates(np.zeros(len(order), int), np.arange(len(order)), item[order], score[order])
    matrix, starts, lengths = matrix_of(row, score, n)
    if is_many:
        is_high = score >= np.partition(matrix, -N_CANDIDATES, axis=1)[row, -N_CANDIDATES]
        row, item, score = row[is_high], item[is_high], score[is_high]
        matrix, starts, lengths = matrix_of(row, score, n)
    order = np.argsort(-matrix, axis=1, kind="stable")[:, :N_CANDIDATES]
    row, rank = np.nonzero(np.arange(order.shape[1]) < lengths[:, None])
    place = starts[row] + order[row, rank]
    return Candidates(row, rank, item[place], score[place])
