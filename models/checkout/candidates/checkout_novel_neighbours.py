# Content-based neighbours among items without a purchase, one row per month and item pair.
from life_stage_checkout.similar_items import similar_new_items


def model(dbt, session):
    dbt.config(materialized="monthly")
    dbt.ref("checkout_months")  # determines the months
    return similar_new_items(
        catalogue=dbt.ref("checkout_catalogue"), items=dbt.ref("checkout_items"), month="__month__"
    )
