# Whether there is a second child, and in which stage: the birth-month filter over pairs of birth months.
# The text is one month; the materialization in macros/monthly_fold.sql runs it for each pending month, oldest first.
from life_stage.pair_filter import fold_month


def model(dbt, session):
    dbt.config(materialized="monthly_fold", full_refresh=False)
    dbt.ref("month_models"), dbt.ref("month_ledger")  # say which months are pending
    return fold_month(
        session,
        beliefs=dbt.ref("birth_month_filter"),
        units=dbt.ref("unit_evidence"),
        coefficients=dbt.ref("stage_coefficients"),
        age_bins=dbt.ref("age_bins"),
        stages=dbt.ref("stages"),
        state="__state__",
        month="__month__",
        previous_month="__previous_month__",
        model_version="__model_version__",
    )
