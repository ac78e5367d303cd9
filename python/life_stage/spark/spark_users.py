"""Input of scoring on Spark, one row per user."""

from typing import Any

import numpy as np
import pyarrow as pa

from life_stage.spark.on_spark import Relation


def observed_by_user(features: Relation, users: Relation, known: list[str], month: str, last_year: str) -> Any:
    """One row per user: user_id and observed, a list of column_no (the index in `known`) and value.

    Features of the month and, with the name prefix `last_year`, of the same month a year before.
    """
    spark = features.frame.sparkSession
    vocabulary = pa.table({"known": known, "column_no": np.arange(len(known), dtype=np.int32)})
    return spark.sql(
        f"""
        with
            observed as (
                select user_id, feature, value from {{features}} where month = date '{month}'
                union all
                select user_id, concat('{last_year}', feature) as feature, value
                from {{features}}
                where month = date '{month}' - interval 12 month
            ),
            found as (
                select observed.user_id, collect_list(struct(vocabulary.column_no, observed.value)) as observed
                from observed
                inner join {{vocabulary}} as vocabulary on observed.feature = vocabulary.known
                group by observed.user_id
            )
        select users.user_id, found.observed
        from (select distinct user_id from {{users}}) as users
        left join found on users.user_id = found.user_id
        """,
        features=features.frame,
        users=users.frame,
        vocabulary=spark.createDataFrame(vocabulary),
    )
