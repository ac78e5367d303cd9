# What a small neural network would recommend for every case: one more source, where var checkout_deep asks for it.
def model(dbt, session):
    dbt.config(materialized="table")
    cases, options = dbt.ref("checkout_cases"), dict(dbt.config.meta_get("options"))
    inputs = {
        "items": dbt.ref("checkout_items"),
        "lines": dbt.ref("checkout_lines"),
        "case_items": dbt.ref("checkout_case_items"),
        "case_habits": dbt.ref("checkout_case_habits"),
    }
    if not options.pop("takes_part"):
        return cases.filter("false").project("case_no, cast(0 as integer) as item_no, cast(0 as double) as score")
    from life_stage_checkout.neural_network import neural_scores  # the extra `deep`

    return neural_scores(cases=cases, options=options, **inputs)
