"""Fast sampling of one option per group, with probabilities that depend on an age."""

import numpy as np


class GroupedChoice:
    """Options in groups (items in leaves, terms in leaves), with p(option | group, table row).

    weights: (n_rows, n_options), not normalised; groups: (n_options,), sorted, without gaps from 0.
    """

    def __init__(self, weights: np.ndarray, groups: np.ndarray):
        first = np.flatnonzero(np.r_[True, np.diff(groups) > 0])
        sizes = np.diff(np.r_[first, len(groups)])
        totals = np.add.reduceat(weights, first, axis=1)
        self.p = weights / np.repeat(totals, sizes, axis=1)
        self.n_groups = len(first)
        self._ends = self._cumulative(first, sizes).ravel()

    def _cumulative(self, first: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Upper end of each option on a line where group g of row r occupies [r * n_groups + g, ... + 1)."""
        running = np.cumsum(self.p, axis=1)
        before = np.column_stack([np.zeros(len(self.p)), running[:, first[1:] - 1]])
        ends = running - np.repeat(before, sizes, axis=1)
        ends[:, np.r_[first[1:], len(np.repeat(first, sizes))] - 1] = 1.0
        offset = np.arange(len(self.p))[:, None] * self.n_groups
        return ends + np.repeat(np.arange(self.n_groups), sizes) + offset

    def draw(self, rng: np.random.Generator, rows: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """One sampled option index per (row, group)."""
        u = rng.random(len(rows)) * (1 - 1e-9)
        n_options = self.p.shape[1]
        return np.searchsorted(self._ends, rows * self.n_groups + groups + u, side="right") - rows * n_options


def draw_columns(rng: np.random.Generator, weights: np.ndarray) -> np.ndarray:
    """One sampled column index per row of weights (n, n_columns), not normalised."""
    ends = np.cumsum(weights, axis=1)
    return (ends <= (rng.random(len(ends)) * ends[:, -1])[:, None]).sum(axis=1).clip(max=weights.shape[1] - 1)
