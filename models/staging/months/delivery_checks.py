# Checks of the newest delivery of actions, one row per check: by month, file, action and column, and against the months
# around it. The run that reads the delivery fails if one of them does (macro check_actions).
from life_stage.engine.delivery_checks import delivery_checks


def model(dbt, session):
    dbt.config(materialized="table")
    options = dbt.config.meta_get("options")
    return delivery_checks(dbt.ref("source_row_counts"), dbt.ref("rejection_reasons"), options)
