# Publication of the marts as one set of files, one row per file. It runs after the tests of all upstream models.
from life_stage.publishing import descriptions_of, publish, tables_of


def model(dbt, session):
    dbt.config(materialized="table")
    marts = {
        "user_stages": dbt.ref("user_stages"),
        "user_stage_months": dbt.ref("user_stage_months"),
        "stage_events": dbt.ref("stage_events"),
        "stage_changes": dbt.ref("stage_changes"),
        "stage_totals": dbt.ref("stage_totals"),
        "stage_transitions": dbt.ref("stage_transitions"),
        "stage_reasons": dbt.ref("stage_reasons"),
        "stage_outlook": dbt.ref("stage_outlook"),
        "crm_children": dbt.ref("crm_children"),
        "stage_interests": dbt.ref("stage_interests"),
        "stages": dbt.ref("stages"),
        "users": dbt.ref("users"),
        "user_consents": dbt.ref("user_consents"),
        "items": dbt.ref("items"),
        "model_runs": dbt.ref("model_runs"),
    }
    # Tables on quality that are there, without what points at few users.
    shown, options = "not is_suppressed", dbt.config.meta_get("options")
    of_enough_users = f"n_users >= {options['min_cell_users']}"
    of_stages = f"subject = 'life_stage' and n_cases >= {options['min_cell_users']}"
    of_all = f"period = 'all' and segment = 'all' and n_users >= {options['min_cell_users']}"
    quality = {
        "household_accuracy": lambda: dbt.ref("household_accuracy").filter(shown),
        "stage_accuracy": lambda: dbt.ref("stage_accuracy").filter(shown),
        "stage_confusion": lambda: dbt.ref("stage_confusion").filter(shown),
        "stage_calibration": lambda: dbt.ref("stage_calibration").filter(shown),
        "gain_over_baseline": lambda: dbt.ref("gain_over_baseline").filter(shown),
        "outlook_backtest": lambda: dbt.ref("outlook_backtest"),
        "top_stage_features": lambda: dbt.ref("top_stage_features"),
        "rejection_counts": lambda: dbt.ref("rejection_counts"),
        "month_drift": lambda: dbt.ref("month_drift"),
        "model_drift": lambda: dbt.ref("model_drift"),
        "monitor_quality": lambda: dbt.ref("monitor_quality").filter(of_stages),
        "monitor_latency": lambda: dbt.ref("monitor_latency"),
        "answer_outcomes": lambda: dbt.ref("answer_outcomes").filter(of_enough_users),
    }
    if options["checkout_months"]:
        marts |= {
            "checkout_recommendations": dbt.ref("checkout_recommendations"),
            "cart_complements": dbt.ref("cart_complements"),
            "item_substitutes": dbt.ref("item_substitutes"),
        }
        quality["checkout_leaderboard"] = lambda: dbt.ref("checkout_leaderboard").filter(of_all)
        quality["checkout_calibration"] = lambda: dbt.ref("checkout_calibration").filter(of_enough_users)
        # What life-stage serve reads, of the coming month.
        served = {
            "checkout_months": dbt.ref("checkout_months"),
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
        coming = dbt.ref("checkout_months").filter("not is_closed").project("month")
        marts |= {f"serving/{name}": table.join(coming, "month", how="semi") for name, table in served.items()}
        consents = dbt.ref("stg_consents_by_purpose").project("user_id, purpose")
        marts["serving/user_consents"] = consents  # also of users without a stage
        marts["serving/experiments"] = dbt.ref("experiments")
        marts["serving/items"] = dbt.ref("items").project("item_id, price")
        catalogue = dbt.ref("checkout_catalogue")
        columns = [name for name in catalogue.columns if name != "words"]
        marts["serving/checkout_catalogue"] = catalogue.project(", ".join(columns))
    there = tables_of(session, dbt.this.schema)
    marts |= {name: read() for name, read in quality.items() if name in there}
    return publish(marts, options, descriptions_of(marts, session, dbt.this.schema))
