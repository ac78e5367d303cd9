# Coefficients of the rankers, one row per month, kind and model, trained on the months before.
from life_stage_checkout.ranker import coefficients


def model(dbt, session):
    dbt.config(materialized="monthly")
    dbt.ref("checkout_months")  # determines the months
    return coefficients(
        examples=dbt.ref("checkout_training_examples"),
        month="__month__",
        options=dbt.config.meta_get("options"),
    )
