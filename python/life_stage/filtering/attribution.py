"""Attributions of a stage: what the features of a user's months contribute to its log-odds.

Given weights w of the birth months, let w_in be those of the stage and w_out all others, each divided by its sum. The
log-odds of the stage are the sum over birth months of (w_in - w_out) times the log posterior, plus the difference of
the entropies of w_in and w_out. The log posterior is a sum over the features of all months, the prior and the activity
of the user, so that the contributions are exact: value * tau * sum((w_in - w_out) * weight of the feature at the age in
that month).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from life_stage.filtering.birth_months import Ages
from life_stage.filtering.pass_grid import matrix_of, numbers_of, point_names
from life_stage.spark import on_spark
from life_stage.training.retraining import read_age_divisions

FEATURES_PER_CHILD, CHILDREN_PER_BATCH = 5, 10_000
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("child_no", pa.int32()),
        ("rank", pa.int32()),
        ("month", pa.date32()),
        ("feature", pa.string()),
        ("n_days", pa.int32()),
        ("contribution", pa.float64()),
    ]
)


def attribute(session: Any, *, children: Any, weights: Any, age_bins: Any, stages: Any) -> Any:
    """Rows of stage_attributions: at most five features per child, all positive, and the prior with rank 0.

    Relations: explained_children, model_weights, age_bins, stages. Contributions are in nats, to six decimals.
    """
    ages = read_age_divisions(age_bins, stages)
    attributor = Attributor.of(ages, weights)
    if isinstance(session, on_spark.Session):
        return session.mapped(children.frame, attributor.of_batches, SCHEMA)
    batches = children.order("user_id, child_no").to_arrow_reader(CHILDREN_PER_BATCH)
    return pa.RecordBatchReader.from_batches(SCHEMA, attributor.of_batches(batches))


class Attributor(NamedTuple):
    """Attributions of batches of children. weights: features x bins of each model; features: their names, in order."""

    ages: Ages
    weights: dict[str, np.ndarray]
    features: dict[str, pa.Array]

    @classmethod
    def of(cls, ages: Ages, weights: Any) -> "Attributor":
        """From model_weights."""
        columns = ", ".join(f"w_{name}" for name in ages.bins)
        rows = weights.project(f"model_version, feature, {columns}").df()
        models = {version: of.drop(columns="model_version") for version, of in rows.groupby("model_version")}
        return cls(
            ages,
            {version: of.drop(columns="feature").to_numpy() for version, of in models.items()},
            {version: pa.array(of["feature"], pa.string()) for version, of in models.items()},
        )

    def of_batches(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """One batch of rows per batch of children."""
        for children in batches:
            yield self.of_batch(children)

    def of_batch(self, children: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch of explained_children."""
        posterior, prior = (self.at_ages(children, kind) for kind in "wl")
        directions = self.directions(
            posterior, children["stage_no"].to_numpy() - 1, children["is_primary"].to_numpy(zero_copy_only=False)
        )
        child, features = self.observed(children)
        lag = numbers_of(children["month"])[child] - numbers_of(features.field("month"))
        value = features.field("value").to_numpy() * children["tau"].to_numpy()[child]
        contribution = np.round(value * self.weighted(directions, child, features, lag), 6)
        chosen, rank = self.chosen(child, contribution, features)
        of_prior = np.round(np.einsum("ca,ca->c", directions, prior), 6)
        n_children, found = len(children), features.take(pa.array(chosen))
        rows = pa.array(np.concatenate([child[chosen], np.arange(n_children)]))
        columns = [
            children["user_id"].take(rows),
            children["child_no"].take(rows),
            pa.array(np.concatenate([rank, np.zeros(n_children, int)])),
            *(
                pa.concat_arrays([found.field(name), pa.nulls(n_children, found.field(name).type)])
                for name in ("month", "feature", "n_days")
            ),
            pa.array(np.concatenate([contribution[chosen], of_prior])),
        ]
        return pa.RecordBatch.from_arrays(
            [column.cast(of_type) for column, of_type in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA
        )

    @property
    def stage_ages(self) -> np.ndarray:
        """The ages within the stages."""
        return np.arange(self.ages.stage_edges[0], self.ages.stage_edges[-1])

    def at_ages(self, table: pa.RecordBatch | pa.Table, kind: str) -> np.ndarray:
        """rows x ages within the stages, from the columns <kind>_<age>."""
        names = point_names(self.ages)[1 : 1 + len(self.stage_ages)]
        return matrix_of(table, [f"{kind}_{name}" for name in names]).T

    def directions(self, posterior: np.ndarray, stage: np.ndarray, is_primary: np.ndarray) -> np.ndarray:
        """w_in - w_out, children x ages. The posterior is that of the first child; of others all ages count alike."""
        posterior = np.where(is_primary[:, None], np.maximum(posterior, 1e-300), 1.0)
        inside = self.ages.stage_of(self.stage_ages) == stage[:, None]
        shares = [posterior * part for part in (inside, ~inside)]
        w_in, w_out = (share / np.maximum(share.sum(axis=1, keepdims=True), 1e-300) for share in shares)
        return w_in - w_out

    @staticmethod
    def observed(children: pa.RecordBatch) -> tuple[np.ndarray, pa.StructArray]:
        """Index of the child and fields of each feature."""
        lengths = children["features"].value_lengths().fill_null(0).to_numpy()
        return np.repeat(np.arange(len(children)), lengths), children["features"].flatten()

    def weighted(
        self, directions: np.ndarray, child: np.ndarray, features: pa.StructArray, lag: np.ndarray
    ) -> np.ndarray:
        """The sum of directions times the weight of each feature at the age `lag` months ago, in its month's model."""
        found = np.zeros(len(child))
        for version in self.weights:
            of_model = np.flatnonzero(pc.equal(features.field("model_version"), version))
            names = features.field("feature").take(pa.array(of_model))
            row = pc.index_in(names, value_set=self.features[version]).to_numpy(zero_copy_only=False)
            for months in np.unique(lag[of_model]):
                of_month = lag[of_model] == months
                chosen = of_model[of_month]
                by_bin = directions @ self.bins_at(self.stage_ages - months)
                found[chosen] = np.einsum("fb,fb->f", self.weights[version][row[of_month]], by_bin[child[chosen]])
        return found

    def bins_at(self, ages: np.ndarray) -> np.ndarray:
        """Interpolation matrix, ages x bins. Before the first age with a grid point, the first bin counts alone."""
        at = self.ages.log_likelihood_at[np.maximum(ages - self.ages.first, 0)]
        return np.where((ages < self.ages.first)[:, None], np.eye(at.shape[1])[0], at)

    def chosen(
        self, child: np.ndarray, contribution: np.ndarray, features: pa.StructArray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Indices and ranks of the five largest positive contributions of each child; ties by month and name."""
        named = {"month": features.field("month"), "feature": features.field("feature")}
        keys = {"child": "ascending", "contribution": "descending", "month": "descending", "feature": "ascending"}
        rows = pa.table({"child": child, "contribution": contribution, **named})
        order = pc.sort_indices(rows, list(keys.items())).to_numpy()
        rank = 1 + np.arange(len(order)) - np.searchsorted(child, child[order])
        is_chosen = (rank <= FEATURES_PER_CHILD) & (contribution[order] > 0)
        return order[is_chosen], rank[is_chosen]
