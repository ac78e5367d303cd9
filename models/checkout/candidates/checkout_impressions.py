# Impressions of the target month, one row per user and rank: items served to shoppers with empty carts by the champion.
from life_stage_checkout.empty_carts import impressions


def model(dbt, session):
    dbt.config(materialized="table")
    return impressions(
        {
            "checkout_months": dbt.ref("checkout_months"),
            "checkout_catalogue": dbt.ref("checkout_catalogue"),
            "checkout_items": dbt.ref("checkout_items"),
            "checkout_neighbours": dbt.ref("checkout_neighbours"),
            "checkout_habits": dbt.ref("checkout_habits"),
            "checkout_browsing": dbt.ref("checkout_browsing"),
            "checkout_product_types": dbt.ref("checkout_product_types"),
            "checkout_type_neighbours": dbt.ref("checkout_type_neighbours"),
            "checkout_users": dbt.ref("checkout_users"),
            "checkout_coefficients": dbt.ref("checkout_coefficients"),
            "checkout_champions": dbt.ref("checkout_champions"),
        }
    )
