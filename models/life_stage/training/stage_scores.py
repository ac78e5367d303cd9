# Predictions of the stateless baseline, one row per user and month: age-bin probabilities from the month and the same
# month last year. The materialization in macros/monthly.sql runs this text for each pending month.
from life_stage.filtering.scoring import score


def model(dbt, session):
    dbt.config(materialized="monthly", full_refresh=False)
    dbt.ref("month_calendar")  # determines the pending months
    return score(
        session,
        features=dbt.ref("user_month_features"),
        user_months=dbt.ref("user_months"),
        coefficients=dbt.ref("stage_coefficients"),
        models=dbt.ref("month_model_assignments"),
        age_bins=dbt.ref("age_bins"),
        month="__month__",
    )
