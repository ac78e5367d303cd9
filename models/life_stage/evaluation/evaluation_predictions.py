# Predictions of all methods, one row per method, test user and month of the evaluation window.
from life_stage.evaluation.evaluation import predictions


def model(dbt, session):
    dbt.config(materialized="table")
    return predictions(
        window=dbt.ref("evaluation_window"),
        age_bins=dbt.ref("age_bins"),
        stages=dbt.ref("stages"),
        rows=dbt.ref("training_rows"),
        matrix=dbt.ref("design_matrix"),
        vocabulary=dbt.ref("training_vocabulary"),
        coefficients=dbt.ref("evaluation_coefficients"),
        options=dbt.config.meta_get("options"),
    )
