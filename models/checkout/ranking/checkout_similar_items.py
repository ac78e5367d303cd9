# Which items are described alike: the only thing known of an item that nobody has bought yet.
from life_stage_checkout.similar_items import similar_items


def model(dbt, session):
    dbt.config(materialized="table")
    return similar_items(catalogue=dbt.ref("checkout_catalogue"), items=dbt.ref("checkout_items"))
