"""What scoring and second children read of the users on Spark: one row per user, to be mapped over them."""

from typing import Any

import numpy as np
import pyarrow as pa

from life_stage.birth_months import Ages
from life_stage.on_spark import Relation


def met_by_user(features: Relation, users: Relation, known: list[str], month: str, last_year: str) -> Any:
    """One row per user: user_id and met, a list of column_no (the place in `known`) and value.

    Of the month and, under names that begin with `last_year`, of the same month a year before.
    """
    spark = features.frame.sparkSession
    vocabulary = pa.table({"known": known, "column_no": np.arange(len(known), dtype=np.int32)})
    return spark.sql(
        f"""
        with
            met as (
                select user_id, feature, value from {{features}} where month = date '{month}'
                union all
                select user_id, concat('{last_year}', feature) as feature, value
                from {{features}}
                where month = date '{month}' - interval 12 month
            ),
            found as (
                select met.user_id, collect_list(struct(vocabulary.column_no, met.value)) as met
                from met
                inner join {{vocabulary}} as vocabulary on met.feature = vocabulary.known
                group by met.user_id
            )
        select users.user_id, found.met
        from (select distinct user_id from {{users}}) as users
        left join found on users.user_id = found.user_id
        """,
        features=features.frame,
        users=users.frame,
        vocabulary=spark.createDataFrame(vocabulary),
    )


def units_by_user(
    beliefs: Relation, units: Relation, state: Relation, ages: Ages, month: str, previous_month: str
) -> Any:
    """One row per user of beliefs in the month: user_id, tenure, p_<stage>, c_pairs and the evidence of the units."""
    p = ", ".join(f"p_{stage}" for stage in ages.stages)
    evidence = ", ".join(f"e_{age_bin}" for age_bin in ages.bins)
    tenure = f"(year(date '{month}') - year(first_month)) * 12 + month(date '{month}') - month(first_month)"
    return beliefs.frame.sparkSession.sql(
        f"""
        with
            acted as (
                select user_id, array_sort(collect_list(struct(unit, array({evidence}) as evidence))) as units
                from {{units}}
                where month = date '{month}'
                group by user_id
            )
        select known.user_id, {tenure} as tenure, {p}, carried.c_pairs, acted.units.evidence
        from {{beliefs}} as known
        left join {{state}} as carried on known.user_id = carried.user_id and carried.month = date '{previous_month}'
        left join acted on known.user_id = acted.user_id
        where known.month = date '{month}'
        """,
        beliefs=beliefs.frame,
        units=units.frame,
        state=state.frame,
    )
