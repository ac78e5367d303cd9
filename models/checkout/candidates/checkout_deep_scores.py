# Scores of the neural network, an optional candidate generator (var checkout_deep), one row per query and item.
def model(dbt, session):
    dbt.config(materialized="monthly")
    dbt.ref("checkout_months")  # determines the months
    queries, options = dbt.ref("checkout_queries"), dict(dbt.config.meta_get("options"))
    inputs = {
        "items": dbt.ref("checkout_items"),
        "lines": dbt.ref("checkout_lines"),
        "query_items": dbt.ref("checkout_query_items"),
        "query_habits": dbt.ref("checkout_query_habits"),
    }
    if not options.pop("takes_part"):
        return queries.filter("false").project(
            "month, query_id, cast(0 as integer) as item_no, cast(0 as double) as score"
        )
    from life_stage_checkout.neural_network import neural_scores  # the extra `deep`

    return neural_scores(queries=queries, month="__month__", options=options, **inputs)
