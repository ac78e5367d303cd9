# Coefficients of the rankers, one row per month, kind and model, trained on the months before.
from life_stage_checkout.ranker import coefficients


def model(dbt, session):
    dbt.config(materialized="table")
    return coefficients(
        examples=dbt.ref("checkout_examples"),
        months=dbt.ref("checkout_months"),
        options=dbt.config.meta_get("options"),
    )
