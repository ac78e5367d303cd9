# What a small neural network would recommend for every case: one more source, where var checkout_deep asks for it.
from life_stage_checkout.neural_network import neural_scores


def model(dbt, session):
    dbt.config(materialized="table")
    return neural_scores(
        items=dbt.ref("checkout_items"),
        lines=dbt.ref("checkout_lines"),
        cases=dbt.ref("checkout_cases"),
        case_items=dbt.ref("checkout_case_items"),
        case_habits=dbt.ref("checkout_case_habits"),
        options=dbt.config.meta_get("options"),
    )
