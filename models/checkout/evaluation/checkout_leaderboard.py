# Leaderboard of the models with 95 % intervals, one row per model, metric, period and segment.
from life_stage_checkout.leaderboard import leaderboard


def model(dbt, session):
    dbt.config(materialized="table")
    return leaderboard(query_scores=dbt.ref("checkout_query_scores"))
