# Metrics of every model by month and group of shoppers, with 95 % intervals.
from life_stage_checkout.leaderboard import leaderboard


def model(dbt, session):
    dbt.config(materialized="table")
    return leaderboard(query_scores=dbt.ref("checkout_query_scores"))
