# Paired differences between models on the same queries with 95 % intervals, one row per pair, metric and segment.
from life_stage_checkout.leaderboard import comparisons


def model(dbt, session):
    dbt.config(materialized="table")
    return comparisons(query_scores=dbt.ref("checkout_query_scores"))
