"""Scores of the stateless baseline: probabilities from a month's features and those of the same month last year.

Users come in batches, so that memory does not grow with their number; each batch is one sparse matrix product.
"""

from collections.abc import Iterator
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from life_stage import on_spark, spark_users
from life_stage.birth_months import softmax

Relation = duckdb.DuckDBPyRelation
USERS_PER_BATCH = 100_000  # each batch reads the features of both months once more
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
    """One row per user who acted in the month (YYYY-MM-DD) or a year before, in batches.

    Columns user_id, month, model_version and one bin_<age_bin> each; they sum to 1. Without a model there are no rows.
    """
    bins = [name for (name,) in age_bins.order("bin_no").project("age_bin").fetchall()]
    schema = pa.schema(
        [("user_id", pa.string()), ("month", pa.date32()), ("model_version", pa.string())]
        + [(f"bin_{name}", pa.float64()) for name in bins]
    )
    version = models.filter(f"month = date '{month}'").project("model_version").fetchall()
    if not version:
        return pa.RecordBatchReader.from_batches(schema, [])
    regression = read_weights(coefficients, version[0][0], bins)
    users = user_months.filter(f"month in (date '{month}', date '{month}' - interval 12 month)").project("user_id")
    scored = Scorer(regression, schema, np.datetime64(month, "D"))
    if isinstance(session, on_spark.Session):
        people = spark_users.observed_by_user(features, users, regression.features, month, LAST_YEAR)
        return session.mapped(people, scored.by_user, schema)
    observed = features_of_months(session, features, month, regression.features)
    return pa.RecordBatchReader.from_batches(schema, batches(session, observed, users, scored))


def read_weights(coefficients: Relation, model_version: str, bins: list[str]) -> Weights:
    """The memory-less regression of a model; its offsets hold the prior again, because a month alone needs one."""
    rows = coefficients.filter(f"model_version = '{model_version}' and model_name = 'memory_less'")
    table = (
        rows.filter("parameter_type in ('coefficient', 'intercept', 'prior')")
        .project("parameter_type, feature, age_bin, value")
        .df()
    )
    wide = table.pivot(index=["parameter_type", "feature"], columns="age_bin", values="value")[bins]
    offsets = wide.loc[("intercept", "")] + np.log(wide.loc[("prior", "")])
    of_features = wide.loc["coefficient"]
    return Weights(model_version, list(of_features.index), of_features.to_numpy(), offsets.to_numpy())


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
    """What turns the features of some users into their scores of a month."""

    regression: Weights
    schema: pa.Schema
    month: np.datetime64

    def scores(self, users: pa.Array, row: np.ndarray, column: np.ndarray, value: np.ndarray) -> pa.RecordBatch:
        """A row per user, from the places and values of the matrix users x features."""
        shape = (len(users), len(self.regression.features))
        matrix = csr_matrix((value, (row, column)), shape=shape)
        matrix.sort_indices()  # the order of a sum shows in its last digits
        scores = softmax(matrix @ self.regression.weights + self.regression.offsets)
        columns = [
            users.cast(pa.string()),
            pa.array(np.full(len(users), self.month)),
            pa.array([self.regression.model_version] * len(users)),
            *(pa.array(column) for column in scores.T),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def by_user(self, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Users that come with lists of what they observed, as spark_users.observed_by_user has them."""
        for people in rows:
            n_observed = people["observed"].value_lengths().fill_null(0).to_numpy()
            observed = people["observed"].flatten()
            column, value = (observed.field(name).to_numpy() for name in ("column_no", "value"))
            yield self.scores(people["user_id"], np.repeat(np.arange(len(people)), n_observed), column, value)


def batches(
    session: duckdb.DuckDBPyConnection, observed: Relation, users: Relation, scored: Scorer
) -> Iterator[pa.RecordBatch]:
    """The scores of all users, some at a time; also of those who observed nothing that is a feature."""
    users = users.distinct().order("user_id").to_arrow_table()["user_id"].combine_chunks()
    for start in range(0, len(users), USERS_PER_BATCH):
        chosen = users.slice(start, USERS_PER_BATCH)
        numbered = session.from_arrow(pa.table({"chosen": chosen, "row_no": np.arange(len(chosen), dtype=np.int32)}))
        found = observed.join(numbered, "user_id = chosen").project("row_no, column_no, value").fetchnumpy()
        yield scored.scores(chosen, found["row_no"], found["column_no"], found["value"])
