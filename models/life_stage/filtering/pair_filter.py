# Second-child posterior, one row per user and month: birth-month filter over pairs of birth months. The materialization
# in macros/recursive_monthly.sql runs this text for each pending month, oldest first.
from life_stage.pair_filter import update_month


def model(dbt, session):
    dbt.config(materialized="recursive_monthly", full_refresh=False)
    dbt.ref("month_model_assignments"), dbt.ref("month_calendar")  # determine the pending months
    return update_month(
        session,
        posteriors=dbt.ref("birth_month_filter"),
        groups=dbt.ref("group_log_likelihoods"),
        coefficients=dbt.ref("stage_coefficients"),
        age_bins=dbt.ref("age_bins"),
        stages=dbt.ref("stages"),
        state="__state__",
        month="__month__",
        previous_month="__previous_month__",
        model_version="__model_version__",
    )
