"""Parameters of birth_month_filter on arrays, for a pass over batches of users: one Model per model version."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from life_stage.filtering.birth_months import Ages
from life_stage.filtering.pass_grid import Interpolation, matrix_of, point_names
from life_stage.readout.readout import BANDS, TERMS


class Layout:
    """Positions on the grid: of the stages, of the bins in the stages, before and after birth."""

    def __init__(self, ages: Ages) -> None:
        self.ages, self.points, self.interpolation = ages, point_names(ages), Interpolation.of(ages)
        first, last = ages.stage_edges[0], ages.stage_edges[-1]
        self.stages = [self.between(low, high) for low, high in pairwise(ages.stage_edges)]
        bins = zip(ages.bins, pairwise(ages.bin_edges), strict=True)
        self.bins = {name: self.between(low, high) for name, (low, high) in bins if first <= low and high <= last}
        self.expected, self.due = self.between(first, 0), self.between(-1, 0)
        self.born, self.past = slice(self.at(0), None), slice(self.at(last), None)

    def at(self, age: int) -> int:
        """The grid point of an age; the first one of ages before the grid."""
        return max(age - self.ages.first, 0) + 1

    def between(self, low: int, high: int) -> slice:
        """The grid points from one age to another, exclusive."""
        return slice(self.at(low), self.at(high))


@dataclass(frozen=True)
class Model:
    """Parameters of one model.

    weights: (log_tau, logit_delta, bias of each bin in the stages) x TERMS; levels: stages x bands; log_prior: grid
    points x tenures; prior: (stages, not_yet, graduated) x tenures; activity: grid points x codes, in 1/1000 nat, the
    last code being that of a user's first month.
    """

    weights: np.ndarray
    activity_weight: float
    levels: np.ndarray
    log_prior: np.ndarray
    prior: np.ndarray
    activity: np.ndarray

    @classmethod
    def of(cls, version: str, parameters: dict[str, pa.Table], layout: Layout) -> "Model":
        """The model of a version, from its rows of readout_weights, prior_by_tenure and activity_log_likelihoods."""
        readout, prior, activity = (
            parameters[name].filter(pc.field("model_version") == version).sort_by(order)
            for name, order in (
                ("readout_weights", "model_version"),
                ("prior_by_tenure", "tenure_months"),
                ("activity_log_likelihoods", "activity_code"),
            )
        )
        ages, stages = layout.ages, layout.ages.stages
        names = ["log_tau", "logit_delta", *(f"bias_{name}" for name in layout.bins)]
        levels = [f"level_{stage}_{band}" for stage in stages for band in range(len(BANDS) + 1)]
        of_codes = layout.interpolation(matrix_of(activity, [f"ll_{name}" for name in ages.bins]))
        return cls(
            matrix_of(readout, [f"{name}_{term}" for name in names for term in TERMS]).reshape(len(names), -1),
            readout["activity_weight"][0].as_py() * 0.001,
            matrix_of(readout, levels).reshape(len(stages), -1),
            matrix_of(prior, [f"l_{name}" for name in layout.points]),
            matrix_of(prior, [f"prior_{name}" for name in (*stages, "not_yet", "graduated")]),
            np.pad(np.floor(1000 * of_codes + 0.5).astype(np.int32), ((0, 0), (0, 1))),
        )

    def linear_in_terms(
        self, stored: dict[str, np.ndarray], n_active: np.ndarray, n_inactive: np.ndarray
    ) -> np.ndarray:
        """log tau, logit delta and the biases of users, from the stored terms and the last months without an action."""
        terms = {"constant": 1.0, "log_active_months": np.log(np.maximum(n_active, 1)), **stored}
        terms["log_inactive_months"] = np.log(1.0 + n_inactive)
        return sum(weights[:, None] * terms[name] for name, weights in zip(TERMS, self.weights.T, strict=True))
