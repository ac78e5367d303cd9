# Evaluated models in long format, one row per parameter: each was in production before its evaluation window, or was
# trained on the months before it.
from life_stage.evaluation.evaluation_model import train_evaluation_model_if_due


def model(dbt, session):
    dbt.config(materialized="incremental", incremental_strategy="append")
    return train_evaluation_model_if_due(
        window=dbt.ref("evaluation_window"),
        age_bins=dbt.ref("age_bins"),
        stages=dbt.ref("stages"),
        rows=dbt.ref("training_rows"),
        matrix=dbt.ref("design_matrix"),
        vocabulary=dbt.ref("training_vocabulary"),
        registry=dbt.ref("stage_coefficients"),
        known=session.table(str(dbt.this)) if dbt.is_incremental else None,
        options=dbt.config.meta_get("options"),
    )
