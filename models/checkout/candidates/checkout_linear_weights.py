# Weights of the linear item model (EASE, closed form), one row per month and item pair.
from life_stage_checkout.linear_model import linear_weights


def model(dbt, session):
    dbt.config(materialized="monthly")
    dbt.ref("checkout_months")  # determines the months
    return linear_weights(
        pairs=dbt.ref("checkout_pairs"),
        items=dbt.ref("checkout_items"),
        month="__month__",
        options=dbt.config.meta_get("options"),
    )
