# Model registry in long format, one row per parameter. A due model is trained on all closed months and appended.
from life_stage.training.retraining import train_if_due


def model(dbt, session):
    dbt.config(materialized="incremental", incremental_strategy="append", full_refresh=False)
    return train_if_due(
        calendar=dbt.ref("month_calendar"),
        age_bins=dbt.ref("age_bins"),
        stages=dbt.ref("stages"),
        rows=dbt.ref("training_rows"),
        matrix=dbt.ref("design_matrix"),
        vocabulary=dbt.ref("training_vocabulary"),
        retraining_triggers=dbt.ref("retraining_triggers"),
        known=session.table(str(dbt.this)) if dbt.is_incremental else None,
        options=dbt.config.meta_get("options"),
    )
