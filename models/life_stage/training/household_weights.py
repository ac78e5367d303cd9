# Weights of the household readout, one row per model and stage of the first child. Fitted once per model and appended.
from life_stage.readout.households import fit_new_models


def model(dbt, session):
    dbt.config(materialized="incremental", incremental_strategy="append", full_refresh=False)
    return fit_new_models(
        assignments=dbt.ref("month_model_assignments"),
        models=dbt.ref("model_registry"),
        terms=dbt.ref("household_terms"),
        labels=dbt.ref("stage_labels"),
        stages=dbt.ref("stages"),
        known=session.table(str(dbt.this)) if dbt.is_incremental else None,
    )
