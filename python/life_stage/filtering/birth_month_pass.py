"""Posteriors over the birth month of a batch of users in all months of a pass: birth_month_filter.sql on arrays.

The SQL defines formulas and columns. Users lie along the last axis (pass_grid.py).
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from life_stage.filtering.birth_months import Ages
from life_stage.filtering.pass_grid import Grid, Month, at_users, by_month, dates_of, matrix_of, numbers_of, table_of
from life_stage.readout.activity import N_CODES, context_of
from life_stage.readout.filter_parameters import Layout, Model
from life_stage.readout.readout import BANDS, MIN_DELTA, stored_terms

CONFIRMED = np.log(20 * 0.153 / (1 - 0.153))  # as in the macro log_odds_to_confirm
DAYS = ["days", "unspecific_days", "purchase_days"]
SUMS = ["c_peaks", *(f"c_{name}" for name in DAYS)]
RECENT_BITS = 32  # of c_recent_months before its oldest month is dropped
NEVER = np.iinfo(int).max


class Carried:
    """The carried state of a batch of users, as in the macro birth_month_state; `first` is NEVER before a user's start.

    c, a: sums on the grid; sums: SUMS x users; log_odds: of an expected birth, NaN for none.
    """

    def __init__(self, users: pa.Array, stored: pa.Table, layout: Layout, n_months: int) -> None:
        """stored: state rows of some of the users; n_months: months that follow."""
        user, n = pc.index_in(stored["user_id"], value_set=users).to_numpy(), len(users)
        self.users, self.points = users, layout.points
        self.first = at_users(numbers_of(stored["first_month"]), user, n, NEVER)
        self.last_active = at_users(numbers_of(stored["last_active_month"]), user, n)
        self.n_active, self.recent = at_users(matrix_of(stored, ["months_of_evidence", "c_recent_months"]), user, n)
        self.log_odds, self.log_ratio = at_users(
            matrix_of(stored, ["c_birth_log_odds", "c_birth_log_ratio"]), user, n, np.nan
        )
        self.log_ratio = np.nan_to_num(self.log_ratio)
        self.is_open = at_users(stored["c_birth_is_open"].to_numpy(), user, n)
        self.sums = at_users(matrix_of(stored, SUMS), user, n)
        self.c, self.a = (
            Grid(at_users(matrix_of(stored, [f"{kind}_{name}" for name in self.points]), user, n), n_months)
            for kind in "ca"
        )

    def merge(self, month: int, rows: np.ndarray, is_active: np.ndarray, model: Model, layout: Layout) -> np.ndarray:
        """Equations 1 and 2: the grid ages, and the month is added. Returns the activity codes.

        rows: (bins, DAYS) x users, 0 for inactive ones.
        """
        n_bins = len(layout.ages.bins)
        before = np.maximum(month - self.first, 0)
        code = 2 * context_of(month - self.last_active - 1, self.n_active, before) + is_active
        code = np.where(before > 0, code, N_CODES)
        for grid, added in ((self.c, layout.interpolation(rows[:n_bins])), (self.a, model.activity[:, code])):
            grid.age()
            grid.points[:] += added
        self.first = np.where(is_active, np.minimum(self.first, month), self.first)
        self.last_active = np.where(is_active, month, self.last_active)
        self.n_active = self.n_active + is_active
        self.recent = self.recent % RECENT_BITS * 2 + is_active
        self.sums[0] += rows[:n_bins].max(axis=0)
        self.sums[1:] += rows[n_bins:]
        return code

    def terms(self) -> dict[str, np.ndarray]:
        """The stored terms of the readout; single precision, as in the table."""
        recent = np.bitwise_count(self.recent)
        found = stored_terms(
            np.maximum(self.n_active, 1), self.c.points.max(axis=0), self.sums[0], self.sums[1:], recent
        )
        return {name: values.astype(np.float32) for name, values in found.items()}

    def follow_birth(self, month: int, is_active: np.ndarray, weights: "Weights") -> None:
        """Sum the log-odds of a child against none over the active months after an expected birth."""
        is_expected = weights.expected > 0.5 * weights.total
        change = np.where(is_active, weights.log_odds(weights.born) - self.log_odds, 0)
        since = np.where(is_expected, 0, self.log_ratio + np.nan_to_num(change))
        is_known, soon_born = self.first <= month, weights.born + weights.due
        self.is_open = is_known & (is_expected | (self.is_open & (since < CONFIRMED)))
        self.log_ratio = np.where(is_known, since, 0)
        is_due = is_known & (soon_born > weights.expected - weights.due)
        self.log_odds = np.where(is_due, weights.log_odds(soon_born), np.nan)

    def table(self, month: int) -> pa.Table:
        """The state rows of the users whose first month has come."""
        columns = {
            "user_id": self.users,
            "month": dates_of(np.full(len(self.users), month)),
            "first_month": dates_of(np.minimum(self.first, month)),
            "last_active_month": dates_of(self.last_active),
            "months_of_evidence": self.n_active,
            "c_birth_log_odds": self.log_odds,
            "c_birth_log_ratio": self.log_ratio,
            "c_birth_is_open": self.is_open,
            "c_recent_months": self.recent,
            **dict(zip(SUMS, self.sums, strict=True)),
        }
        for kind, grid in (("c", self.c), ("a", self.a)):
            columns |= {f"{kind}_{name}": row for name, row in zip(self.points, grid.points, strict=True)}
        return table_of(columns, self.first <= month)


class Weights:
    """Unnormalised posterior of a month and its sums, by user. points: grid points x users, of which the largest is 1.

    peak, not_yet: logits of the largest weight and of not_yet.
    """

    def __init__(self, logits: np.ndarray, layout: Layout) -> None:
        """logits: grid points x users, changed in place."""
        self.layout, self.peak, self.not_yet = layout, logits.max(axis=0), logits[0].copy()
        logits -= self.peak
        self.points = np.exp(logits, out=logits)
        self.total = self.points.sum(axis=0)
        self.in_stages = np.stack([self.points[stage].sum(axis=0) for stage in layout.stages])
        self.expected, self.due, self.born, self.past = (
            self.points[part].sum(axis=0) for part in (layout.expected, layout.due, layout.born, layout.past)
        )

    def log_odds(self, born: np.ndarray) -> np.ndarray:
        """The log-odds of the weight of a birth against a family that expects no child."""
        return np.log(np.maximum(born, 1e-300)) + self.peak - self.not_yet

    def months_left(self) -> np.ndarray:
        """stages x users: expected months until the child leaves each stage, given that it is in it; NaN: no weight."""
        found = np.full(self.in_stages.shape, np.nan)
        for months, stage in zip(found, self.layout.stages, strict=True):
            left = np.arange(stage.stop - stage.start, 0, -1)[:, None]
            months[:] = (left * self.points[stage]).sum(axis=0)
        return found / np.where(self.in_stages > 0, self.in_stages, np.nan)

    def younger(self) -> np.ndarray:
        """ages x users: the weight of each age and all younger ones. A cumsum takes ten times as long."""
        found = self.points[1:-1].copy()
        for before, after in pairwise(found):
            after += before
        return found


class Pass:
    """Runs the filter over all months of batches of users."""

    def __init__(self, ages: Ages, months: Sequence[Month], parameters: dict[str, pa.Table]) -> None:
        """parameters: readout_weights, prior_by_tenure and activity_log_likelihoods of the models of the months."""
        self.months, self.layout = months, Layout(ages)
        versions = {month.model_version for month in months}
        self.models = {version: Model.of(version, parameters, self.layout) for version in versions}
        self.columns = [*(f"ll_{name}" for name in ages.bins), *DAYS]

    def __call__(self, users: pa.Array, rows: pa.Table, state: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The published rows, and the state rows of the months that keep one, both sorted by month and user.

        users: sorted ids; rows: their log-likelihoods of the months; state: of the month before, empty for none.
        """
        values, is_active = by_month(rows, users, self.months, self.columns)
        carried = Carried(users, state, self.layout, len(self.months))
        published, states = [], []
        for month, of_month, active in zip(self.months, values, is_active, strict=True):
            model = self.models[month.model_version]
            code = carried.merge(month.number, of_month, active, model, self.layout)
            columns = self.readout(carried, model, month.number, active)
            if month.is_published:
                columns["activity_code"] = pa.array(code.astype(np.int32), mask=code == N_CODES)
                published.append(table_of(columns, carried.first <= month.number))
            if month.is_stored:
                states.append(carried.table(month.number))
        return pa.concat_tables(published), pa.concat_tables(states)

    def readout(self, carried: Carried, model: Model, month: int, is_active: np.ndarray) -> dict[str, np.ndarray]:
        """Equation 3: the published columns of a month, by user."""
        stages, n = self.layout.ages.stages, carried.n_active
        tenure, stored = np.maximum(month - carried.first, 0), carried.terms()
        log_prior, prior = model.log_prior[:, tenure], model.prior[:, tenure]
        log_tau, logit_delta, *biases = model.linear_in_terms(stored, n, month - carried.last_active)
        logits = np.exp(log_tau) * carried.c.points
        logits += model.activity_weight * carried.a.points
        for points, bias in zip(self.layout.bins.values(), biases, strict=True):
            logits[points] += bias
        logits += log_prior
        weights = Weights(logits, self.layout)
        carried.follow_birth(month, is_active, weights)
        delta = np.maximum(1 / (1 + np.exp(-logit_delta)), MIN_DELTA)
        masses = np.stack([*weights.in_stages, weights.points[0], weights.past])
        shares = (1 - delta) * masses / weights.total + delta * prior
        p, outside = shares[: len(stages)], shares[len(stages) :]
        stage = p.argmax(axis=0)
        level = model.levels[stage, np.digitize(n, BANDS)]
        is_dated = (outside <= 0.5).all(axis=0)
        median, earliest, latest = self.birth_months(weights, month, is_dated, (0.5, 0.5 + level, 0.5 - level))
        return {
            "user_id": carried.users,
            "month": dates_of(np.full(len(n), month)),
            "first_month": dates_of(np.minimum(carried.first, month)),
            "last_active_month": dates_of(carried.last_active),
            "months_of_evidence": n,
            **{f"p_{name}": of_stage for name, of_stage in zip(stages, p / p.sum(axis=0), strict=True)},
            "not_yet_expecting_probability": outside[0],
            "graduated_probability": outside[1],
            "expected_birth_month": median,
            "earliest_birth_month": earliest,
            "latest_birth_month": latest,
            "months_until_next_stage": weights.months_left()[stage, np.arange(len(n))],
            "birth_confirmed": ~carried.is_open & (weights.born > 4 * (weights.expected + weights.points[0])),
            "log_marginal_likelihood": weights.peak + np.log(weights.total),
            "no_child_log_ratio": weights.not_yet - log_prior[0] - weights.peak - np.log(weights.total),
            **stored,
        }

    def birth_months(
        self, weights: Weights, month: int, is_dated: np.ndarray, shares: Sequence[float | np.ndarray]
    ) -> list[np.ndarray]:
        """The birth months with these shares of the weight on younger children; NaT unless is_dated."""
        younger = weights.younger()
        is_dated = is_dated & (younger[-1] > 0)
        ages = [self.layout.ages.first + (younger < share * younger[-1]).sum(axis=0) for share in shares]
        return [np.where(is_dated, dates_of(month - age), np.datetime64("NaT")) for age in ages]
