# Content-based neighbours, one row per item pair.
from life_stage_checkout.similar_items import similar_items


def model(dbt, session):
    dbt.config(materialized="table")
    return similar_items(catalogue=dbt.ref("checkout_catalogue"))
