# What the rankers learned: which weight each column of a candidate has, for every month from the months before it.
from life_stage_checkout.ranker import coefficients


def model(dbt, session):
    dbt.config(materialized="table")
    return coefficients(
        examples=dbt.ref("checkout_examples"),
        months=dbt.ref("checkout_months"),
        options=dbt.config.meta_get("options"),
    )
