# Publication of the marts as one set of files, one row per file. It runs after the tests of all upstream models.
from life_stage.publishing import descriptions_of, publish


def model(dbt, session):
    dbt.config(materialized="table")
    marts = {
        "user_stages": dbt.ref("user_stages"),
        "user_stage_months": dbt.ref("user_stage_months"),
        "stage_events": dbt.ref("stage_events"),
        "stage_changes": dbt.ref("stage_changes"),
        "stage_totals": dbt.ref("stage_totals"),
        "stage_reasons": dbt.ref("stage_reasons"),
        "stage_outlook": dbt.ref("stage_outlook"),
        "stage_interests": dbt.ref("stage_interests"),
        "stages": dbt.ref("stages"),
        "users": dbt.ref("users"),
        "user_consents": dbt.ref("user_consents"),
        "items": dbt.ref("items"),
        "model_runs": dbt.ref("model_runs"),
    }
    options = dbt.config.meta_get("options")
    if options["checkout_months"]:
        marts["checkout_recommendations"] = dbt.ref("checkout_recommendations")
        marts["cart_complements"] = dbt.ref("cart_complements")
    return publish(marts, options, descriptions_of(marts, session))
