"""Inputs of scoring and the second-child filter on Spark, one row per user."""

from typing import Any

import numpy as np
import pyarrow as pa

from life_stage.birth_months import Ages
from life_stage.on_spark import Relation


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


def groups_by_user(
    posteriors: Relation, groups: Relation, state: Relation, ages: Ages, month: str, previous_month: str
) -> Any:
    """One row per user of posteriors in the month: user_id, tenure, p_<stage>, c_pairs, groups' log-likelihoods."""
    p = ", ".join(f"p_{stage}" for stage in ages.stages)
    log_likelihood = ", ".join(f"ll_{age_bin}" for age_bin in ages.bins)
    tenure = f"(year(date '{month}') - year(first_month)) * 12 + month(date '{month}') - month(first_month)"
    return posteriors.frame.sparkSession.sql(
        f"""
        with
            acted as (
                select
                    user_id,
                    array_sort(
                        collect_list(struct(category_group, array({log_likelihood}) as log_likelihood))
                    ) as groups
                from {{groups}}
                where month = date '{month}'
                group by user_id
            )
        select known.user_id, {tenure} as tenure, {p}, carried.c_pairs, acted.groups.log_likelihood
        from {{posteriors}} as known
        left join {{state}} as carried on known.user_id = carried.user_id and carried.month = date '{previous_month}'
        left join acted on known.user_id = acted.user_id
        where known.month = date '{month}'
        """,
        posteriors=posteriors.frame,
        groups=groups.frame,
        state=state.frame,
    )
