"""Scores of the stateless baseline: age-bin probabilities from a month's features and those of a year before.

Users are processed in batches of constant memory; each batch is one sparse matrix product.
"""

from collections.abc import Iterator
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from life_stage.filtering.birth_months import softmax
from life_stage.spark import on_spark, spark_users

Relation = duckdb.DuckDBPyRelation
USERS_PER_BATCH = 100_000  # each batch scans the features of both months
LAST_YEAR = "last_year:"


class Weights(NamedTuple):
    """A regression ready to score: the version, the features in order, weights (features x bins), offsets (bins)."""

    model_version: str
    features: list[str]
    weights: np.ndarray
    offsets: np.ndarray


def score(
    session: duckdb.DuckDBPyConnection | on_spark.Session,
    *,
    features: Relation,
    user_months: Relation,
    coefficients: Relation,
    models: Relation,
    age_bins: Relation,
    month: str,
) -> pa.RecordBatchReader:
    """One row per user active in the month (YYYY-MM-DD) or a year before, in batches.

    Columns user_id, month, model_version and one bin_<age_bin> per bin in single precision, which sum to 1. No rows
    without a model.
    """
    bins = [name for (name,) in age_bins.order("bin_no").project("age_bin").fetchall()]
    schema = pa.schema(
        [("user_id", pa.string()), ("month", pa.date32()), ("model_version", pa.string())]
        + [(f"bin_{name}", pa.float32()) for name in bins]
    )
    version = models.filter(f"month = date '{month}'").project("model_version").fetchall()
    if not version:
        return pa.RecordBatchReader.from_batches(schema, [])
    regression = read_weights(coefficients, version[0][0], bins)
    users = user_months.filter(f"month in (date '{month}', date '{month}' - interval 12 month)").project("user_id")
    scorer = Scorer(regression, schema, np.datetime64(month, "D"))
    if isinstance(session, on_spark.Session):
        rows = spark_users.observed_by_user(features, users, regression.features, month, LAST_YEAR)
        return session.mapped(rows, scorer.by_user, schema)
    observed = features_of_months(session, features, month, regression.features)
    return pa.RecordBatchReader.from_batches(schema, batches(session, observed, users, scorer))


def read_weights(coefficients: Relation, model_version: str, bins: list[str]) -> Weights:
    """The stateless baseline of a model; its offsets include the prior, so that scores are posteriors."""
    rows = coefficients.filter(f"model_version = '{model_version}' and model_name = 'memory_less'")
    table = (
        rows.filter("parameter_type in ('coefficient', 'intercept', 'prior')")
        .project("parameter_type, feature, age_bin, value")
        .df()
    )
    wide = table.pivot(index=["parameter_type", "feature"], columns="age_bin", values="value")[bins]
    offsets = wide.loc[("intercept", "")] + np.log(wide.loc[("prior", "")])
    weights = wide.loc["coefficient"]
    return Weights(model_version, list(weights.index), weights.to_numpy(), offsets.to_numpy())


def features_of_months(
    session: duckdb.DuckDBPyConnection, features: Relation, month: str, known: list[str]
) -> Relation:
    """user_id, column_no, value of the month and of the same month last year, for the features in `known`."""
    this_year = features.filter(f"month = date '{month}'").project("user_id, feature, value")
    year_before = features.filter(f"month = date '{month}' - interval 12 month")
    last_year = year_before.project(f"user_id, concat('{LAST_YEAR}', feature) as feature, value")
    vocabulary = session.from_arrow(pa.table({"known": known, "column_no": np.arange(len(known), dtype=np.int32)}))
    observed = this_year.union(last_year)
    return observed.join(vocabulary, "feature = known").project("user_id, column_no, value")


class Scorer(NamedTuple):
    """Scores of a month from the features of a batch of users."""

    regression: Weights
    schema: pa.Schema
    month: np.datetime64

    def scores(self, users: pa.Array, row: np.ndarray, column: np.ndarray, value: np.ndarray) -> pa.RecordBatch:
        """One row per user, from the indices and values of the sparse matrix users x features."""
        shape = (len(users), len(self.regression.features))
        matrix = csr_matrix((value, (row, column)), shape=shape)
        matrix.sort_indices()  # the order of a sum changes its last digits
        scores = softmax(matrix @ self.regression.weights + self.regression.offsets)
        columns = [
            users.cast(pa.string()),
            pa.array(np.full(len(users), self.month)),
            pa.array([self.regression.model_version] * len(users)),
            *(pa.array(column) for column in scores.T.astype(np.float32)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def by_user(self, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Scores of batches with one row per user, from spark_users.observed_by_user."""
        for users in rows:
            n_observed = users["observed"].value_lengths().fill_null(0).to_numpy()
            observed = users["observed"].flatten()
            column, value = (observed.field(name).to_numpy() for name in ("column_no", "value"))
            yield self.scores(users["user_id"], np.repeat(np.arange(len(users)), n_observed), column, value)


def batches(
    session: duckdb.DuckDBPyConnection, observed: Relation, users: Relation, scorer: Scorer
) -> Iterator[pa.RecordBatch]:
    """The scores of all users in batches, including users without any known feature."""
    users = users.distinct().order("user_id").to_arrow_table()["user_id"].combine_chunks()
    for start in range(0, len(users), USERS_PER_BATCH):
        chosen = users.slice(start, USERS_PER_BATCH)
        row_numbers = session.from_arrow(pa.table({"chosen": chosen, "row_no": np.arange(len(chosen), dtype=np.int32)}))
        found = observed.join(row_numbers, "user_id = chosen").project("row_no, column_no, value").fetchnumpy()
        yield scorer.scores(chosen, found["row_no"], found["column_no"], found["value"])
