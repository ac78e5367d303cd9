"""Presence log-likelihoods of a batch of users in all months of a pass: presence_filter.sql on arrays.

The SQL defines formulas and columns. Users lie along the last axis (pass_grid.py).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from life_stage.filtering.birth_months import Ages
from life_stage.filtering.pass_grid import Grid, Month, at_users, by_month, dates_of, matrix_of, table_of
from life_stage.readout.filter_parameters import Layout


class Pass:
    """Runs the recursion over all months of batches of users."""

    def __init__(self, ages: Ages, months: Sequence[Month], parameters: dict[str, pa.Table]) -> None:
        """parameters: none, since the log-likelihoods alone depend on a model."""
        self.months, self.layout = months, Layout(ages)
        self.columns = [f"ll_{name}" for name in ages.bins]

    def __call__(self, users: pa.Array, rows: pa.Table, state: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The published rows, and the state rows of the months that keep one, both sorted by month and user.

        users: sorted ids; rows: of their active months; state: of the month before, empty for none.
        """
        values, is_active = by_month(rows, users, self.months, self.columns)
        points = [f"c_{name}" for name in self.layout.points]
        carried = pc.index_in(state["user_id"], value_set=users).to_numpy()
        is_known = at_users(np.ones(len(carried), bool), carried, len(users))
        sums = Grid(at_users(matrix_of(state, points), carried, len(users)).astype(np.int32), len(self.months))
        published, states = [], []
        for month, of_month, active in zip(self.months, values, is_active, strict=True):
            sums.age()
            sums.points[:] += np.floor(1000 * self.layout.interpolation(of_month) + 0.5).astype(np.int32)
            is_known |= active
            key = {"user_id": users, "month": dates_of(np.full(len(users), month.number))}
            if month.is_published:
                published.append(table_of(key | self.readout(sums.points), is_known))
            if month.is_stored:
                states.append(table_of(key | dict(zip(points, sums.points, strict=True)), is_known))
        return pa.concat_tables(published), pa.concat_tables(states)

    def readout(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """The published columns: of each stage the logarithm of the mean likelihood, and the likeliest age."""
        found = {}
        for name, points in zip(self.layout.ages.stages, self.layout.stages, strict=True):
            inside = sums[points]
            peak = inside.max(axis=0)
            mean = np.exp((inside - peak) / 1000).sum(axis=0) / len(inside)
            found[f"presence_{name}"] = np.round(peak / 1000 + np.log(mean), 3).astype(np.float32)
            found[f"age_{name}"] = points.start - 1 + self.layout.ages.first + inside.argmax(axis=0)
        outer = (sums[[0, -1]] / 1000).astype(np.float32)
        return found | {"presence_not_yet": outer[0], "presence_aged_out": outer[1]}
