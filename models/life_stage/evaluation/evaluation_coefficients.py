# Evaluation models in long format, one row per parameter. Trained only on data before the evaluation window.
from life_stage.evaluation_model import train_evaluation_model_if_due


def model(dbt, session):
    dbt.config(materialized="incremental", incremental_strategy="append")
    dbt.ref("stage_coefficients")  # limits peak memory: the trainings run one after the other
    return train_evaluation_model_if_due(
        window=dbt.ref("evaluation_window"),
        age_bins=dbt.ref("age_bins"),
        stages=dbt.ref("stages"),
        rows=dbt.ref("training_rows"),
        matrix=dbt.ref("design_matrix"),
        vocabulary=dbt.ref("training_vocabulary"),
        known=session.table(str(dbt.this)) if dbt.is_incremental else None,
        options=dbt.config.meta_get("options"),
    )
