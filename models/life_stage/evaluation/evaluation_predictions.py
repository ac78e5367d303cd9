# What every method says of the test users in the months that it is judged on.
from life_stage.evaluation import predictions


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
