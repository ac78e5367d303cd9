# The trained models, as rows: when one is due it is learned from all closed months and added; no model is ever changed.
from life_stage.learning import new_model


def model(dbt, session):
    dbt.config(materialized="incremental", incremental_strategy="append", full_refresh=False)
    return new_model(
        ledger=dbt.ref("month_ledger"),
        age_bins=dbt.ref("age_bins"),
        stages=dbt.ref("stages"),
        rows=dbt.ref("learning_rows"),
        matrix=dbt.ref("learning_matrix"),
        vocabulary=dbt.ref("learning_vocabulary"),
        reasons=dbt.ref("retraining_reasons"),
        known=session.table(str(dbt.this)) if dbt.is_incremental else None,
        options=dbt.config.meta_get("options"),
    )
