"""Tracks of dynamic fusion of a batch of users in all months of a pass: dynamic_fusion.sql on arrays.

The SQL defines formulas and columns; the steps are those of tracks.py.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from life_stage.filtering.birth_months import Ages
from life_stage.filtering.pass_grid import Month, by_month, dates_of, matrix_of, numbers_of
from life_stage.filtering.tracks import N_TRACKS, Tracks, fused, likeliest, moved, moves, ranked


class Pass:
    """Runs the fusion over all months of batches of users."""

    def __init__(self, ages: Ages, months: Sequence[Month], parameters: dict[str, pa.Table], fusion_merge: str) -> None:
        """parameters: none, since the scores alone depend on a model; fusion_merge: mean or product."""
        self.ages, self.months, self.merge = ages, months, fusion_merge
        self.n_prenatal = sum(age < 0 for age in ages.stage_edges[:-1])

    def __call__(self, users: pa.Array, rows: pa.Table, state: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The published rows, and the state rows of the months that keep one, both sorted by month, user and rank.

        users: sorted ids; rows: their masses m_<stage> of the months; state: of the month before, empty for none.
        """
        values, is_active = by_month(rows, users, self.months, [f"m_{name}" for name in self.ages.stages])
        tracks, n_ever = self.carried(users, state)
        first = self.months[0].number
        moved_by = moves(self.ages.stage_edges, len(self.months) - tracks.matched.min(initial=0))
        published, states = [], []
        for number, (month, mass, active) in enumerate(zip(self.months, values, is_active, strict=True)):
            p = (mass / np.where(active, mass.sum(axis=0), 1)).T
            now = moved(tracks, moved_by, number)
            tracks, n_ever = fused(tracks, now, n_ever, p, active, number, self.merge)
            tracks = ranked(tracks, number)
            user, rank = np.nonzero(tracks.fusions > 0)
            key = {
                "user_id": users.take(pa.array(user)),
                "month": dates_of(np.full(len(user), month.number)),
                "track_no": tracks.number[user, rank],
                "first_month": dates_of(first + tracks.first[user, rank]),
                "matched_month": dates_of(first + tracks.matched[user, rank]),
                "n_fusions": tracks.fusions[user, rank],
            }
            if month.is_published:
                now = moved(tracks, moved_by, number)[user, rank]
                columns = self.readout(now, tracks.p[user, rank])
                published.append(pa.table(key | {"rank": rank + 1} | columns))
            if month.is_stored:
                columns = dict(zip(self.carried_columns(), tracks.p[user, rank].T, strict=True))
                states.append(pa.table(key | {"c_n_tracks_ever": n_ever[user]} | columns))
        return pa.concat_tables(published), pa.concat_tables(states)

    def carried_columns(self) -> list[str]:
        """The columns of a track's distribution as of its last match."""
        return [f"c_{name}" for name in (*self.ages.stages, "graduated")]

    def carried(self, users: pa.Array, state: pa.Table) -> tuple[Tracks, np.ndarray]:
        """The stored tracks, with months counted from the first of the pass, and the number of tracks ever by user."""
        user = pc.index_in(state["user_id"], value_set=users).to_numpy()
        slot = np.arange(len(user)) - np.searchsorted(user, user)  # rows are sorted by user
        first = self.months[0].number
        found = {
            "matched": numbers_of(state["matched_month"]) - first,
            "first": numbers_of(state["first_month"]) - first,
            "fusions": state["n_fusions"].to_numpy(),
            "number": state["track_no"].to_numpy(),
        }
        slots = {name: np.zeros((len(users), N_TRACKS + 1), int) for name in found}
        for name, of_rows in found.items():
            slots[name][user, slot] = of_rows
        p = np.zeros((len(users), N_TRACKS + 1, len(self.ages.stages) + 1))
        p[user, slot] = matrix_of(state, self.carried_columns()).T
        n_ever = np.zeros(len(users), int)
        n_ever[user] = state["c_n_tracks_ever"].to_numpy()
        return Tracks(p, **slots), n_ever

    def readout(self, now: np.ndarray, matched: np.ndarray) -> dict[str, np.ndarray]:
        """The published columns; now, matched: tracks x (stages, graduated), of this month and of the last match."""
        in_stages = now[:, :-1].sum(axis=1, keepdims=True)
        last = np.eye(len(self.ages.stages))[-1]  # of a fully graduated track
        p = np.where(in_stages > 0, now[:, :-1] / np.where(in_stages > 0, in_stages, 1), last)
        return {
            **{f"p_{name}": of_stage for name, of_stage in zip(self.ages.stages, p.T, strict=True)},
            "graduated_probability": now[:, -1],
            "birth_confirmed": likeliest(matched[:, :-1]) >= self.n_prenatal,
        }
